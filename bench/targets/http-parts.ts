import type { IncomingMessage, ServerResponse } from 'node:http';
import { destination } from 'pino';
import pinoHttp from 'pino-http';
import { collectDefaultMetrics, Histogram, Registry } from 'prom-client';

// What a gateway on `node:http` adds for operators, by the READMEs of the usual packages.

type Middleware = (req: IncomingMessage, res: ServerResponse, next: () => void) => void;

/** Asynchronous, with the buffer that pino's documentation recommends. */
export function logFile(dest: string) {
  return destination({ dest, minLength: 4096, sync: false });
}

/** One line per request. Without headers, as in the suite's log; pino-http's default would write all of them and take longer. */
export function accessLog(file: string): Middleware {
  return pinoHttp(
    {
      serializers: {
        req: ({ id, method, url, socket }) => ({ id, method, url, remoteAddress: socket.remoteAddress }),
        res: ({ statusCode }) => ({ statusCode }),
      },
      wrapSerializers: false,
    },
    logFile(file),
  );
}

/** A histogram by method, route and status, and the default metrics, as prom-client's examples show. */
export function durations(route: string): Middleware {
  const register = new Registry();
  collectDefaultMetrics({ register });
  const histogram = new Histogram({
    name: 'http_request_duration_seconds',
    help: 'Duration of requests in seconds',
    labelNames: ['method', 'route', 'status_code'],
    registers: [register],
  });
  return (req, res, next) => {
    const end = histogram.startTimer();
    res.once('finish', () => end({ method: req.method as string, route, status_code: res.statusCode }));
    next();
  };
}
