import { createRequire } from 'node:module';
import type { TracerProvider } from '@opentelemetry/api';
import type { Logger } from '../logging/logger.ts';
import { StartError } from '../start-error.ts';

type OpenTelemetryApi = typeof import('@opentelemetry/api');

/** `forceFlush()` is not part of the API, but SDKs have it. */
type Provider = TracerProvider & { forceFlush?(): Promise<void> };

/** Milliseconds that the end of the process waits for the last spans. */
const FLUSH_TIMEOUT_MS = 1_000;

/** The OpenTelemetry SDK that was registered before the gateway was loaded, as `node --import` does it. */
export class OpenTelemetry {
  readonly api: OpenTelemetryApi;
  readonly #log: Logger;

  /**
   * Loads the package. It is needed only with tracing.
   *
   * @throws {StartError} when it is not installed.
   */
  constructor(log: Logger) {
    this.#log = log;
    this.api = load();
    if (this.#provider === undefined) {
      log.warn({}, 'TRACING is on, and no OpenTelemetry SDK is registered: start with node --import (docs/tracing.md)');
    }
  }

  /** Sends the last spans, because SDKs send them in batches. It does not wait long for a collector that is down. */
  async flush(): Promise<void> {
    const sent = Promise.resolve(this.#provider?.forceFlush?.()).catch((error: unknown) =>
      this.#log.warn({ error }, 'the last spans were not sent'),
    );
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<void>((resolve) => {
      timer = setTimeout(() => {
        this.#log.warn({}, 'the last spans were not sent in time');
        resolve();
      }, FLUSH_TIMEOUT_MS);
    });
    await Promise.race([sent, late]);
    clearTimeout(timer);
  }

  /** `undefined` when no SDK is registered. */
  get #provider(): Provider | undefined {
    const { trace, ProxyTracerProvider } = this.api;
    const provider = trace.getTracerProvider();
    if (!(provider instanceof ProxyTracerProvider)) return provider;
    return provider.getDelegateTracer('expressway') === undefined ? undefined : provider.getDelegate();
  }
}

function load(): OpenTelemetryApi {
  try {
    return createRequire(import.meta.url)('@opentelemetry/api');
  } catch (cause) {
    throw new StartError(['TRACING: on needs @opentelemetry/api: npm install @opentelemetry/api'], { cause });
  }
}
