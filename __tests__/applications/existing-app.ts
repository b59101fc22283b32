/**
 * An app as many have it: users with sessions, uploads, WebSockets, an API that is validated by OpenAPI. The suite is mounted
 * in it, and `/api` goes to `BACKENDS`. It is a process of its own, because OpenTelemetry patches Node's modules. `EXPRESS`
 * names the package of Express. Its parent process is told the port, and for each message what the app saw.
 */
import { AsyncLocalStorage } from 'node:async_hooks';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import type Express from 'express';
import type { ForwardedEvent, Middleware } from '../../lib/index.ts';

const load = createRequire(import.meta.url);

// The SDK comes first, as with `node --import ./otel.mjs`.
const otel = load('@opentelemetry/sdk-trace-node');
const exporter = new otel.InMemorySpanExporter();
new otel.NodeTracerProvider({ spanProcessors: [new otel.SimpleSpanProcessor(exporter)] }).register();
const { HttpInstrumentation } = load('@opentelemetry/instrumentation-http');
new HttpInstrumentation({ disableOutgoingRequestInstrumentation: true }).enable();

const { createServer } = load('node:http') as typeof import('node:http');
const {
  accessLog,
  circuitBreaker,
  GatewayEvents,
  ipRateLimit,
  observability,
  parsedBody,
  prometheusMetrics,
  requestGuard,
  roundRobinProxy,
  tracing,
  upgradeHandler,
} = await import('../../lib/index.ts');

const seen = {
  morgan: [] as string[],
  accessLog: [] as string[],
  errors: [] as string[],
  warnings: [] as string[],
  /** Whose request a callback was called for, and whose tenant AsyncLocalStorage gave it. */
  tenants: [] as { what: string; user: unknown; tenant: string | undefined }[],
};
process.on('warning', ({ name, message }) => seen.warnings.push(`${name}: ${message}`));

const tenants = new AsyncLocalStorage<string>();
const tenantOf = (what: string, { headers }: { headers: Record<string, unknown> }) =>
  seen.tenants.push({ what, user: headers['x-tenant'], tenant: tenants.getStore() });

const events = new GatewayEvents();
events.on('forwarded', ({ exchange }: ForwardedEvent) => tenantOf('forwarded', exchange.req));
const limiter = ipRateLimit({ limit: 1_000, events });
const breaker = circuitBreaker({ events, isFailure: () => false });
const proxy = roundRobinProxy({
  backends: (process.env.BACKENDS ?? '').split(','),
  body: parsedBody,
  retry: { attempts: 0 },
  events,
});
const register = new (load('prom-client').Registry)();
const sources = { limiters: [limiter], breakers: [breaker], proxies: [proxy] };
const metrics = prometheusMetrics({ register, events, ...sources });
const log = accessLog({ to: { write: (line: string) => seen.accessLog.push(line) } as never });

const express = load(process.env.EXPRESS ?? 'express') as typeof Express;
const session = load('express-session')({
  secret: 'a secret of this test',
  resave: false,
  saveUninitialized: false,
  rolling: true,
});
const passport = load('passport');
const { Strategy } = load('passport-local');
passport.use(
  new Strategy((name: string, password: string, done: (error: unknown, user: unknown) => void) =>
    done(null, password === `${name}'s password` && { name }),
  ),
);
passport.serializeUser((user: { name: string }, done: (error: unknown, id: string) => void) => done(null, user.name));
passport.deserializeUser((name: string, done: (error: unknown, user: unknown) => void) =>
  setImmediate(done, null, { name }),
);
const multer = load('multer');
const upload = multer({ storage: multer.memoryStorage(), limits: { fileSize: 100_000 } });
const openApi = load('express-openapi-validator').middleware({ apiSpec: load('./existing-app-api.json') });

const app = express();
app.disable('x-powered-by').set('trust proxy', 'loopback');
app.use((req, res, next) => {
  tenants.run(String(req.headers['x-tenant']), () => {
    for (const name of ['finish', 'close']) res.on(name, () => tenantOf(name, req));
    next();
  });
});
const api = load('@opentelemetry/api');
app.use(observability({ metrics, accessLog: log, tracing: tracing({ api }), serverTiming: true }));
app.use(load('morgan')(':status :method :url', { stream: { write: (line: string) => seen.morgan.push(line.trim()) } }));
app.use(load('helmet')());
app.use(load('cors')({ origin: ['https://shop.example'], credentials: true, exposedHeaders: ['X-Request-Id'] }));
app.use(load('compression')({ threshold: 0 }));
app.use(session, passport.initialize(), passport.session());
app.use(requestGuard({ events }));
app.use(express.urlencoded({ extended: false }));

/** A span that has ended, as far as the test looks at it. */
interface FinishedSpan {
  name: string;
  kind: number;
  parentSpanContext?: { spanId: string };
  spanContext(): { traceId: string; spanId: string };
}

type Handler = Express.RequestHandler;
/** What passport and multer add. */
type Added = { user?: { name: string }; file?: { originalname: string; buffer: Buffer } };
const added = (req: unknown) => req as Added;

const signedIn: Handler = (req, res, next) => {
  const { user } = added(req);
  if (user === undefined) {
    res.status(401).json({ error: 'sign in first' });
    return;
  }
  req.headers['x-user'] = user.name;
  next();
};
app.post('/sign-in', passport.authenticate('local'), (req, res) => void res.json(added(req).user));
app.get('/me', signedIn, (req, res) => void res.json({ user: added(req).user, tenant: tenants.getStore() }));
app.post('/avatar', upload.single('picture'), (req, res) => {
  const { file } = added(req);
  res.json({ name: file?.originalname, size: file?.buffer.length });
});
app.get('/boom', () => {
  throw new Error('the handler of /boom');
});
const toBackends: Middleware[] = [limiter, breaker, proxy];
app.post('/api/orders', express.json(), openApi as never);
app.use('/api', signedIn, ...toBackends);
app.use(((error: Error & { status?: number }, _req, res, next) => {
  seen.errors.push(`${error.name}: ${error.message}`);
  if (res.headersSent) next(error);
  else res.status(error.status ?? 500).json({ error: error.message });
}) as Express.ErrorRequestHandler);

const server = createServer(app);
const io = new (load('socket.io').Server)(server, { destroyUpgrade: false });
io.engine.use(session);
type Socket = {
  request: { session: { passport?: { user: string } } };
  on(name: string, fn: (...args: never[]) => void): void;
};
io.on('connection', (socket: Socket) => {
  socket.on('who am I', (answer: (name: unknown) => void) => answer(socket.request.session.passport?.user));
});
server.on('upgrade', upgradeHandler(app, { path: '/api' }));
server.listen(0, '127.0.0.1', () => process.send?.((server.address() as AddressInfo).port));

/** For each message of the test. */
process.on('message', async () => {
  const spans = exporter.getFinishedSpans().map((span: FinishedSpan) => {
    const { traceId, spanId } = span.spanContext();
    return { name: span.name, kind: span.kind, traceId, spanId, parent: span.parentSpanContext?.spanId };
  });
  process.send?.({ ...seen, spans, metrics: await register.metrics() });
});
process.on('disconnect', () => process.exit());
