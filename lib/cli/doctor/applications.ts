import type { Config } from '../../gateway/config/config.ts';
import { withServiceDefaults } from '../../gateway/hosted-app.ts';
import { type RoundRobinProxyOptions, roundRobinProxyDefaults, serviceRouterDefaults } from '../../index.ts';
import { serviceNames } from '../../routing/route-options.ts';
import { type Check, type Finding, note } from './finding.ts';

/** Milliseconds after which a socket.io server responds to an idle poll, by default. */
const SOCKET_IO_PING_MS = 25_000;
/** Bounds that are high enough for common applications. */
const LARGE_BODY = 1_073_741_824;
const LARGE_TARGET = 15_000;

/** The settings of one service, from variables or from the file of `GATEWAY_CONFIG`. */
type Settings = Pick<
  Required<RoundRobinProxyOptions>,
  'responseTimeoutMs' | 'loadBalancing' | 'backends' | 'maxBodyBytes'
>;
/** The settings of all requests. */
type Paths = Pick<Config, 'ambiguousPaths' | 'mergeSlashes'>;

/** Name of the variable for each setting. In the file of `GATEWAY_CONFIG`, a setting has its own name. */
const VARIABLES = {
  responseTimeoutMs: 'RESPONSE_TIMEOUT_MS',
  loadBalancing: 'LOAD_BALANCING',
  loadFactor: 'HASH_LOAD_FACTOR',
  maxBodyBytes: 'MAX_BODY_BYTES',
  ambiguousPaths: 'AMBIGUOUS_PATHS',
  mergeSlashes: 'MERGE_SLASHES',
} as const;

/** A setting in the operator's notation: `MERGE_SLASHES=off`, or `mergeSlashes: false`. */
type Written = (name: keyof typeof VARIABLES, value: unknown) => string;

const asVariable: Written = (name, value) =>
  `${VARIABLES[name]}=${value === true ? 'on' : value === false ? 'off' : value}`;
const inFile: Written = (name, value) => `${name}: ${value}`;

/** A setting that breaks some applications: what fails, and what to do. */
type Need = readonly [what: string, fix: string];

function needsOfService(service: Settings, written: Written): Need[] {
  const { responseTimeoutMs: ms, loadBalancing, backends, maxBodyBytes: bytes } = service;
  const needs: Need[] = [];
  if (ms <= SOCKET_IO_PING_MS) {
    needs.push([
      `${written('responseTimeoutMs', ms)}: polls of socket.io, which the server holds for up to ${SOCKET_IO_PING_MS} ms, and other long polls get 504`,
      'For those, set it longer than the longest poll, like 60000',
    ]);
  }
  const policy = nameOf(loadBalancing);
  if (isSeveral(backends) && !['hash', 'sticky'].includes(policy)) {
    needs.push([
      `${written('loadBalancing', policy)} with several backends: polling of socket.io and SockJS fails, and so do sessions in the memory of a backend`,
      written === asVariable
        ? 'For those, set LOAD_BALANCING=hash, or sticky with STICKY_SECRET'
        : 'For those, set loadBalancing: hash, or { policy: sticky, secret: … }',
    ]);
  }
  const factor =
    typeof loadBalancing === 'object' && 'loadFactor' in loadBalancing ? loadBalancing.loadFactor : undefined;
  if (factor !== undefined && factor !== Number.POSITIVE_INFINITY) {
    needs.push([
      `${written('loadFactor', factor)}: a client with several requests at a time is sent to more than one backend, which breaks polling of socket.io`,
      `For that, leave ${written === asVariable ? 'HASH_LOAD_FACTOR empty' : 'loadFactor out'}`,
    ]);
  }
  if (bytes !== 0 && bytes < LARGE_BODY) {
    needs.push([
      `${written('maxBodyBytes', bytes)}: larger uploads get 413, such as layers of a container registry, packages of npm, and files of WebDAV, S3 and tus`,
      'For those, set it to the largest upload, or to 0 where the application has a limit of its own',
    ]);
  }
  return needs;
}

function needsOfPaths({ ambiguousPaths, mergeSlashes }: Paths, written: Written): Need[] {
  const needs: Need[] = [];
  const now = written('ambiguousPaths', ambiguousPaths);
  if (ambiguousPaths === 'strict') {
    needs.push([
      `${now}: npm registries (scoped packages), GitLab and others that have %2F in a path get 400`,
      `For those, set ${written('ambiguousPaths', 'reject')}, which lets %2F pass as a part of a name`,
    ]);
  }
  if (ambiguousPaths !== 'pass') {
    needs.push([
      `${now}: S3 keys with a backslash, or with . or .. between slashes, get 400`,
      `For such keys, set ${written('ambiguousPaths', 'pass')}; rules by path in front of the backends are then not safe`,
    ]);
  }
  if (mergeSlashes) {
    needs.push([
      `${written('mergeSlashes', true)}: S3 keys with several slashes in a row name another object`,
      `For such keys, set ${written('mergeSlashes', false)}`,
    ]);
  }
  return needs;
}

function needsOfListener({ bounds: { maxTargetBytes: bytes } }: Config): Need[] {
  if (bytes === 0 || bytes >= LARGE_TARGET) return [];
  return [
    [
      `MAX_TARGET_BYTES=${bytes}: longer paths and queries get 414, such as those of SAML redirects and of GraphQL over GET`,
      `For those, set it to ${LARGE_TARGET}: a whole head may have 16384 bytes`,
    ],
  ];
}

/** The services of `GATEWAY_CONFIG`. A finding that several of them share is listed once. Routes may have their own values. */
function needsOfServices({ services, routes }: NonNullable<Config['declaration']>): Need[] {
  const found = Object.entries(services).flatMap(([name, service]) => {
    const settings = { ...roundRobinProxyDefaults, ...service };
    const timeouts = routes
      .filter((route) => serviceNames(route).includes(name))
      .map(({ stream, responseTimeoutMs = settings.responseTimeoutMs }) => (stream ? Infinity : responseTimeoutMs));
    const shown = timeouts.length === 0 ? settings : { ...settings, responseTimeoutMs: Math.min(...timeouts) };
    return needsOfService(shown, inFile).map((need) => ({ name, need }));
  });
  const same = Map.groupBy(found, ({ need: [what] }) => what);
  return [...same].map(([what, all]): Need => {
    const names = all.map(({ name }) => name);
    const [{ need }] = all as [(typeof all)[number]];
    return [`service${names.length === 1 ? '' : 's'} ${names.join(', ')}, ${what}`, need[1]];
  });
}

/** Lists applications that need another setting, because the gateway cannot know which applications are behind it. */
export const applications: Check = {
  name: 'applications',
  async run({ config }) {
    const { declaration } = config;
    const needs =
      declaration === undefined
        ? [...needsOfService(config, asVariable), ...needsOfPaths(config, asVariable), ...needsOfListener(config)]
        : [
            ...needsOfServices(withServiceDefaults(declaration, config)),
            ...needsOfPaths({ ...serviceRouterDefaults, ...declaration }, inFile),
            ...needsOfListener(config),
          ];
    return needs.map(([what, fix]): Finding => note(what, fix));
  },
};

/** A name may have many addresses. */
const isSeveral = (backends: Settings['backends']): boolean =>
  backends.length > 1 || backends.some((one) => /^(?:dns|srv)/.test(typeof one === 'string' ? one : one.url));

const nameOf = (policy: Settings['loadBalancing']): string =>
  typeof policy === 'object' && 'policy' in policy ? policy.policy : String(policy);
