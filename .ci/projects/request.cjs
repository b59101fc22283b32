/** One request through the whole chain, to a backend of the test kit. */
module.exports = async (expressway, testing, express, http) => {
  const backend = await testing.startBackend({ plan: [testing.answer({ content: 'proxied' })] });
  const limiter = expressway.ipRateLimit();
  const proxy = expressway.roundRobinProxy({ backends: [backend.url] });
  const app = express();
  app.use(expressway.requestGuard(), limiter, expressway.circuitBreaker(), proxy);
  const gateway = expressway.hardenServer(http.createServer(app));
  await new Promise((resolve) => gateway.listen(0, '127.0.0.1', resolve));
  const response = await fetch(`http://127.0.0.1:${gateway.address().port}`);
  const text = await response.text();
  if (response.status !== 200 || text !== 'proxied') throw new Error(`got ${response.status} ${text}`);
  gateway.close();
  gateway.closeAllConnections();
  await proxy.close();
  await limiter.close();
  await backend.close();
};
