import { stopOnSignals } from 'expressway';
import { readConfig } from './config.ts';
import { startGateway } from './gateway.ts';
import { LogOutput } from './log-output.ts';
import { createLogger } from './logger.ts';
import { EnvFile } from './reload-env-file.ts';
import { exitOnStartError } from './start-error.ts';

try {
  const config = readConfig(process.env);
  const lines = new LogOutput();
  const log = createLogger(config.logLevel, (line) => lines.write(line));
  const starting = startGateway(config, { log, lines, environment: new EnvFile('.env', process.env) });
  // Before the start is complete: a supervisor may change its mind at any moment.
  stopOnSignals(async (signal) => {
    log.info({ signal, leadMs: config.shutdownLeadMs, timeoutMs: config.shutdownTimeoutMs }, 'stopping');
    const gateway = await starting;
    await gateway.close();
    log.info({}, 'stopped');
    await lines.close();
  });
  // A start that fails is told below.
  process.on('SIGHUP', () => {
    starting.then(
      (gateway) => gateway.reload('SIGHUP'),
      () => {},
    );
  });
  await starting;
} catch (error) {
  exitOnStartError(error);
}
