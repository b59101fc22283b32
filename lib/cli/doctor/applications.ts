import type { Config } from '../../gateway/config/config.ts';
import { type Check, type Finding, note } from './finding.ts';

/** The pause after which a server of socket.io answers a poll that has nothing to tell, by default. */
const SOCKET_IO_PING_MS = 25_000;
/** Bounds from these on do not get in the way of common applications. */
const LARGE_BODY = 1_073_741_824;
const LARGE_TARGET = 15_000;

/** One setting that some applications need to be another. */
interface Need {
  /** Nothing where the configured value suits all applications; else its variable and value, and what fails. */
  readonly of: (config: Config) => string | undefined;
  readonly fix: string;
}

const NEEDS: readonly Need[] = [
  {
    of: ({ responseTimeoutMs: ms }) =>
      ms > SOCKET_IO_PING_MS
        ? undefined
        : `RESPONSE_TIMEOUT_MS=${ms}: polls of socket.io, which the server holds for up to ${SOCKET_IO_PING_MS} ms, and other long polls get 504`,
    fix: 'For those, set it longer than the longest poll, like 60000',
  },
  {
    of: ({ ambiguousPaths }) =>
      ambiguousPaths === 'strict'
        ? 'AMBIGUOUS_PATHS=strict: npm registries (scoped packages), GitLab and others that have %2F in a path get 400'
        : undefined,
    fix: 'For those, set AMBIGUOUS_PATHS=reject, which lets %2F pass as a part of a name',
  },
  {
    of: ({ ambiguousPaths }) =>
      ambiguousPaths === 'pass'
        ? undefined
        : `AMBIGUOUS_PATHS=${ambiguousPaths}: S3 keys with a backslash, or with . or .. between slashes, get 400`,
    fix: 'For such keys, set AMBIGUOUS_PATHS=pass; rules by path in front of the backends are then not safe',
  },
  {
    of: ({ mergeSlashes }) =>
      mergeSlashes ? 'MERGE_SLASHES=on: S3 keys with several slashes in a row name another object' : undefined,
    fix: 'For such keys, set MERGE_SLASHES=off',
  },
  {
    of: ({ loadBalancing, backends }) =>
      isSeveral(backends) && !keepsClients(loadBalancing)
        ? `LOAD_BALANCING=${nameOf(loadBalancing)} with several backends: polling of socket.io and SockJS fails, and so do sessions in the memory of a backend`
        : undefined,
    fix: 'For those, set LOAD_BALANCING=hash, or sticky with STICKY_SECRET',
  },
  {
    of: ({ loadBalancing }) => {
      const factor =
        typeof loadBalancing === 'object' && 'loadFactor' in loadBalancing ? loadBalancing.loadFactor : undefined;
      return factor === undefined || factor === Infinity
        ? undefined
        : `HASH_LOAD_FACTOR=${factor}: a client with several requests at a time is sent to more than one backend, which polling of socket.io does not bear`;
    },
    fix: 'For that, leave HASH_LOAD_FACTOR empty',
  },
  {
    of: ({ maxBodyBytes: bytes }) =>
      bytes === 0 || bytes >= LARGE_BODY
        ? undefined
        : `MAX_BODY_BYTES=${bytes}: larger uploads get 413, such as layers of a container registry, packages of npm, and files of WebDAV, S3 and tus`,
    fix: 'For those, set it to the largest upload, or to 0 where the application has a limit of its own',
  },
  {
    of: ({ bounds: { maxTargetBytes: bytes } }) =>
      bytes === 0 || bytes >= LARGE_TARGET
        ? undefined
        : `MAX_TARGET_BYTES=${bytes}: longer paths and queries get 414, such as those of SAML redirects and of GraphQL over GET`,
    fix: `For those, set it to ${LARGE_TARGET}: a whole head may have 16384 bytes`,
  },
];

/** What the gateway cannot know: which applications are behind it. Says which of them need another setting. */
export const applications: Check = {
  name: 'applications',
  run: async ({ config }) =>
    NEEDS.flatMap(({ of, fix }): Finding[] => {
      const what = of(config);
      return what === undefined ? [] : [note(what, fix)];
    }),
};

/** A name may have many addresses. */
const isSeveral = (backends: Config['backends']): boolean =>
  backends.length > 1 || backends.some((one) => /^(?:dns|srv)/.test(typeof one === 'string' ? one : one.url));

const nameOf = (policy: Config['loadBalancing']): string =>
  typeof policy === 'object' && 'policy' in policy ? policy.policy : String(policy);

const keepsClients = (policy: Config['loadBalancing']): boolean => ['hash', 'sticky'].includes(nameOf(policy));
