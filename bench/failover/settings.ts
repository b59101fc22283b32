// What all targets share, so that they differ in what they do about a failure and not in how soon they notice it.

/** Milliseconds to connect to a backend, and to wait for the head of its answer. */
export const TIMEOUT_MS = 1_000;
/** Milliseconds for which a backend that failed gets no requests, in gateways that know such a time. */
export const REST_MS = 2_000;
/** Milliseconds that a backend works on each request: some are at it whenever one fails. */
export const SERVICE_MS = 25;

export const CONNECTIONS = 50;
export const BACKENDS = 3;

export const HEALTH_PATH = '/healthz';
/** Field in which a backend says which one it is. */
export const BACKEND_FIELD = 'x-backend';
