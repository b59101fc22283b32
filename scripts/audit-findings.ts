/** An advisory that a release may have: known, and found not to matter here. */
export interface Accepted {
  readonly id: string;
  readonly package: string;
  /** The last day, as YYYY-MM-DD: by then somebody looks again. */
  readonly until: string;
  readonly reason: string;
}

/** What `npm audit` says of one advisory. */
export interface Finding {
  readonly id: string;
  readonly package: string;
  readonly severity: string;
  readonly title: string;
}

const SEVERE: ReadonlySet<string> = new Set(['high', 'critical']);

interface Advisory {
  readonly name: string;
  readonly url: string;
  readonly severity: string;
  readonly title: string;
}

/**
 * The advisories in a report of `npm audit --json`, each once. What is only affected by way of another package is not one.
 *
 * @throws {Error} when it is no report: of a registry that answers no audits, say.
 */
export function findings(json: string): Finding[] {
  const report = JSON.parse(json) as {
    readonly vulnerabilities?: Readonly<Record<string, { readonly via: readonly (string | Advisory)[] }>>;
    readonly message?: string;
  };
  if (report.vulnerabilities === undefined) throw new Error(`no report: ${report.message ?? json.slice(0, 200)}`);
  const all = new Map<string, Finding>();
  for (const { via } of Object.values(report.vulnerabilities)) {
    for (const cause of via) {
      if (typeof cause === 'string') continue;
      const id = cause.url.slice(cause.url.lastIndexOf('/') + 1);
      all.set(`${id} ${cause.name}`, { id, package: cause.name, severity: cause.severity, title: cause.title });
    }
  }
  return [...all.values()];
}

/** What there is to say of them, and whether one keeps a release back. */
export function judgeFindings(
  found: readonly Finding[],
  accepted: readonly Accepted[],
  today: string,
): { readonly lines: string[]; readonly isClean: boolean } {
  const lines: string[] = [];
  let isClean = true;
  for (const finding of found) {
    const known = accepted.find(({ id, package: name }) => id === finding.id && name === finding.package);
    const isAccepted = known !== undefined && today <= known.until;
    const refuses = SEVERE.has(finding.severity) && !isAccepted;
    if (refuses) isClean = false;
    const why = isAccepted
      ? `accepted until ${known.until}: ${known.reason}`
      : known && `accepted until ${known.until} only`;
    const verdict = refuses ? 'refused' : 'passes';
    lines.push(
      `${verdict}: ${finding.package} ${finding.id} (${finding.severity}) ${finding.title}${why ? `\n  ${why}` : ''}`,
    );
  }
  for (const { id, package: name } of accepted) {
    if (!found.some((finding) => finding.id === id && finding.package === name)) {
      lines.push(`note: ${name} ${id} is accepted, and was not found: remove it from the list`);
    }
  }
  return { lines, isClean };
}
