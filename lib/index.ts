export {
  type ApiKey,
  type ApiKeyAuth,
  type ApiKeyAuthOptions,
  type ApiKeyLookup,
  apiKeyAuth,
  apiKeyAuthDefaults,
} from './auth/api-key-auth.ts';
export type { AuthenticationMiddleware } from './auth/authentication.ts';
export {
  type BasicAuthOptions,
  basicAuth,
  basicAuthDefaults,
  hashPassword,
  type PasswordCheck,
} from './auth/basic-auth.ts';
export { type ClientCertAuthOptions, clientCertAuth, clientCertAuthDefaults } from './auth/client-cert-auth.ts';
export type { CertificateFact } from './auth/client-certificate.ts';
export { type ForwardAuthOptions, forwardAuth, forwardAuthDefaults } from './auth/forward-auth.ts';
export { type JwtAuthOptions, jwtAuth, jwtAuthDefaults } from './auth/jwt-auth.ts';

import './core/supported-node.ts';

export type { BackendConcurrency, BackendStatus } from './backends/backend.ts';
export { assertBackends, type BackendOptions } from './backends/backend-url.ts';
export { type AdaptiveConcurrencyOptions, adaptiveConcurrencyDefaults } from './backends/concurrency-options.ts';
export {
  type AddressRecord,
  type DnsOptions,
  dnsDefaults,
  type NameResolver,
  type ServerRecord,
} from './backends/discovery/discovery-options.ts';
export { type HealthCheckOptions, healthCheckDefaults } from './backends/health/health-check-options.ts';
export { type QueueOptions, queueDefaults } from './backends/queue.ts';
export { type HashBy, type HashOptions, hashDefaults } from './backends/selection/hash.ts';
export type { LoadBalancing } from './backends/selection/load-balancing.ts';
export type { SimplePolicyName } from './backends/selection/plain-policies.ts';
export type { BackendView, SelectionPolicy } from './backends/selection/selection-policy.ts';
export { type StickyOptions, stickyDefaults } from './backends/selection/sticky-cookie.ts';
export {
  type CircuitBreaker,
  type CircuitBreakerOptions,
  type CircuitOptions,
  circuitBreaker,
  circuitBreakerDefaults,
  circuitDefaults,
  type Isolation,
} from './circuit-breaker/circuit-breaker.ts';
export { type BackendCircuitOptions, backendCircuitDefaults } from './circuit-breaker/circuit-options.ts';
export { type Composable, compose } from './core/compose.ts';
export { GatewayError, type GatewayErrorCode } from './core/errors.ts';
export type {
  AttemptFailedEvent,
  BackendsChangedEvent,
  CircuitStateChangeEvent,
  CircuitStateName,
  ClientPipelinedEvent,
  ClientRefusedEvent,
  DiscoveryFailedEvent,
  DiscoveryRecoveredEvent,
  ForwardedEvent,
  GatewayProblem,
  HealthChangeEvent,
  HealthCheckedEvent,
  HealthVerdict,
  LimitedEvent,
  LimiterMode,
  LimiterModeChangeEvent,
  LoadSheddingChangeEvent,
  MirroredEvent,
  MirrorResult,
  ProblemEvent,
  ProblemSeverity,
  RejectedEarlyEvent,
  RejectedEvent,
  ResourceShortageEvent,
} from './core/events.ts';
export type { Exchange } from './core/exchange.ts';
export { type GatewayEventMap, GatewayEvents } from './core/gateway-events.ts';
export type { AppRequest, GatewayRequest, Middleware } from './core/http.ts';
export { OptionsError } from './core/options.ts';
export type { Cause, FailureCause, Outcome, RejectionCause } from './core/outcome.ts';
export type { LimiterDecision } from './core/recorder.ts';
export { type ExpressApp, expressListener } from './ingress/express-listener.ts';
export { type ExpressMessages, expressServerOptions } from './ingress/express-server-options.ts';
export { hardenServer } from './ingress/harden-server.ts';
export { type HardenServerOptions, hardenServerDefaults } from './ingress/harden-server-options.ts';
export { http2Server } from './ingress/http2/http2-server.ts';
export { type Http2ServerOptions, http2ServerDefaults } from './ingress/http2/http2-server-options.ts';
export { type LoadShedding, loadShedding } from './ingress/load-shedding.ts';
export {
  type LoadSheddingOptions,
  type LoadSheddingStatus,
  loadSheddingDefaults,
  type PriorityRequest,
} from './ingress/load-shedding-options.ts';
export { type ProxyProtocolOptions, proxyProtocol, proxyProtocolDefaults } from './ingress/proxy-protocol.ts';
export type { AmbiguousPaths } from './ingress/request-checks.ts';
export {
  type RequestGuard,
  type RequestGuardOptions,
  requestGuard,
  requestGuardDefaults,
} from './ingress/request-guard.ts';
export type { Priority } from './ingress/shedding-gate.ts';
export { type GracefulShutdown, gracefulShutdown } from './lifecycle/graceful-shutdown.ts';
export {
  type GracefulShutdownOptions,
  gracefulShutdownDefaults,
  type ShutdownPhase,
} from './lifecycle/graceful-shutdown-options.ts';
export type { OpenAtDeadline } from './lifecycle/open-at-deadline.ts';
export {
  type StopSignals,
  type StopSignalsOptions,
  stopOnSignals,
  stopSignalsDefaults,
} from './lifecycle/stop-signals.ts';
export {
  type AccessLog,
  type AccessLogFormat,
  type AccessLogOptions,
  accessLog,
  accessLogDefaults,
} from './observability/access-log/access-log.ts';
export {
  type PrometheusMetrics,
  type PrometheusMetricsOptions,
  prometheusMetrics,
  prometheusMetricsDefaults,
} from './observability/metrics/prometheus-metrics.ts';
export { type ObservabilityOptions, observability, observabilityDefaults } from './observability/observability.ts';
export type { Detector, Finding, WatchedKind } from './observability/problems/problem-kind.ts';
export { type Headline, headlineOf, mergeProblems, ProblemMonitor } from './observability/problems/problem-monitor.ts';
export type { FinishedRequest, RequestSink } from './observability/request-record.ts';
export { mergeHistories, mergeSnapshots } from './observability/status/merge-snapshots.ts';
export {
  type StatusFeed,
  type StatusFeedOptions,
  type StatusWatcher,
  statusFeed,
  statusFeedDefaults,
} from './observability/status/status-feed.ts';
export type {
  BackendRow,
  BackendSeriesData,
  Change,
  LimitedClient,
  ProcessStatus,
  RouteRow,
  StatusSnapshot,
  TrafficHistory,
  TrafficSlot,
} from './observability/status/status-snapshot.ts';
export {
  type Tracing,
  type TracingOptions,
  type TrustIncoming,
  tracing,
  tracingDefaults,
} from './observability/tracing/tracing.ts';
export type { TracingApi } from './observability/tracing/tracing-api.ts';
export type { PathFilter, PathRewrite } from './proxy/filtered-requests.ts';
export type { HeaderRules } from './proxy/header-rules.ts';
export { type MirrorOptions, mirrorDefaults } from './proxy/mirror/mirror-options.ts';
export type { ForwardedMode, ForwardingFields } from './proxy/request/forwarding-headers.ts';
export { parsedBody } from './proxy/request/parsed-body.ts';
export type { ReadBody } from './proxy/request/read-body.ts';
export {
  type ChangeBodyFunction,
  type ChangeBodyOptions,
  changeBody,
  changeBodyDefaults,
} from './proxy/response/change-body.ts';
export type { ChangeableResponse, ChangeFunction, ResponseOptions } from './proxy/response/response-rules.ts';
export { type RetryAfterOptions, retryAfterDefaults } from './proxy/response/retry-after.ts';
export { type RetryOptions, retryDefaults } from './proxy/retry/retry-rules.ts';
export { type RoundRobinProxy, roundRobinProxy } from './proxy/round-robin-proxy.ts';
export { type RoundRobinProxyOptions, roundRobinProxyDefaults } from './proxy/round-robin-proxy-options.ts';
export { type SessionPersistence, sessionPersistenceDefaults } from './proxy/session-persistence.ts';
export type { BackendProtocol } from './proxy/transport/all-connections.ts';
export { assertBackendTls, type BackendTlsOptions } from './proxy/transport/backend-tls.ts';
export { type TunnelOptions, tunnelDefaults } from './proxy/tunnel/tunnels.ts';
export { type UpgradeHandler, upgradeHandler } from './proxy/tunnel/upgrade-handler.ts';
export { type UpgradeHandlerOptions, upgradeHandlerDefaults } from './proxy/tunnel/upgrade-protocols.ts';
export { type UndiciTransportOptions, undiciTransport, undiciTransportDefaults } from './proxy/undici-transport.ts';
export { assertAddressList } from './rate-limit/address-list.ts';
export {
  type AlgorithmName,
  rateLimitAlgorithms,
  type WindowsAlgorithmName,
} from './rate-limit/algorithms/registry.ts';
export type { CounterAnswer, CounterLink, CounterQuestion } from './rate-limit/cluster/counter-question.ts';
export { type LimiterCounter, limiterCounter } from './rate-limit/cluster/limiter-counter.ts';
export type { OnStoreError } from './rate-limit/fallback/fallback.ts';
export { type IpRateLimiter, ipRateLimit, type Limits, type PreparedLimits } from './rate-limit/ip-rate-limit.ts';
export {
  type CostFunction,
  IP_RATE_LIMIT_DEFAULTS as ipRateLimitDefaults,
  type IpRateLimitOptions,
  type KeyFunction,
  type LimitFunction,
  type SkipFunction,
} from './rate-limit/ip-rate-limit-options.ts';
export type { LeaseOptions } from './rate-limit/leases/leasing-store.ts';
export type { RateLimitWindow } from './rate-limit/quota.ts';
export type { FieldsForm } from './rate-limit/rate-limit-fields.ts';
export {
  LimiterUnavailableError,
  type RateLimitStore,
  type RateLimitStoreOptions,
  rateLimitStore,
} from './rate-limit/rate-limit-store.ts';
export type {
  IoRedisClient,
  NodeRedisClient,
  NodeRedisCluster,
  NodeRedisSentinel,
  RedisClient,
} from './rate-limit/redis/redis-client.ts';
export { assertTrustProxy, type TrustProxy } from './rate-limit/trust-proxy.ts';
export type { CorsOptions } from './routing/cors.ts';
export {
  assertDeclaration,
  type Declaration,
  type ServiceOptions,
  type ServiceRouterOptions,
  serviceRouterDefaults,
} from './routing/declaration.ts';
export {
  type ErrorFacts,
  type ErrorJson,
  type ErrorPage,
  type ErrorResponseOptions,
  errorResponses,
} from './routing/error-responses.ts';
export type { RewriteOptions } from './routing/rewrite.ts';
export type { Authenticator } from './routing/route-authentication.ts';
export type { RouteLimit } from './routing/route-limit.ts';
export type { MatchedRequest, RouteMatch } from './routing/route-match.ts';
export type { RouteOptions, WeightedService } from './routing/route-options.ts';
export type { FixedResponse, RedirectOptions } from './routing/route-response.ts';
export type { RouteStatus } from './routing/route-summary.ts';
export {
  type PreparedDeclaration,
  type ServiceRouter,
  serviceRouter,
} from './routing/service-router.ts';
