import { type Command, InputError, type Streams } from '../command.ts';
import { ProgressBar } from '../progress-bar.ts';
import { jsonReport } from './json-report.ts';
import { lineReader } from './log-line.ts';
import { linesOf, openLog } from './log-source.ts';
import { readSimulateOptions } from './simulate-options.ts';
import { Simulation } from './simulation.ts';
import { textReport } from './text-report.ts';

const HELP = `Usage: expressway simulate <log...> --limit <limit> [options]

Replays access logs through a limiter and says who would have been limited, how often and when. Nothing is sent
anywhere. The arithmetic is that of ipRateLimit(), on the clock of the log.

  <log...>             files, read one after the other; names that end in .gz are gzipped, - is standard input
  --limit <limit>      requests per window and client, like 100/1m; several windows with commas: 100/1m,1000/1h
                       (units: ms, s, m, h, d)
  --algorithm <name>   sliding-window (default), fixed-window or token-bucket
  --burst <n>          what a full token bucket holds; default: the limit
  --by <field>         who is counted: ip (default), or a field of the lines: any of a JSON line; user, method, path,
                       status, referer or agent of the other formats. Lines without it are counted by address
  --format <name>      auto (default: each line for itself), common, combined or json
  --top <n>            clients that are listed, default 20
  --json               prints one JSON object in place of the text
  --ipv6-subnet <n>    leading bits of an IPv6 address that make one client, 32 to 64, default 56
  --max-keys <n>       clients that are told apart, default 1000000; it bounds the memory

Lines:
  common, combined     as Apache and nginx write them
  json                 one object per line with time (ISO 8601, or epoch milliseconds or seconds), and the address as
                       client, ip or remoteAddress

A line that is earlier than one before it is taken for simultaneous with that. Lines that cannot be read are counted,
and the first are shown.

Exit codes: 0, 1 if a log cannot be read, 2 for a wrong call.

Examples:
  expressway simulate access.log --limit 100/1m
  expressway simulate access.log.1.gz access.log --limit 100/1m,1000/1h --top 5
  expressway simulate access.log --limit 600/1m --algorithm token-bucket --burst 50
  kubectl logs gateway | expressway simulate - --limit 100/1m --by userId --format json --json
`;

export const simulate: Command = {
  name: 'simulate',
  summary: 'replays an access log through a rate limit and says who would have been limited',
  help: HELP,

  async run(args, { stdin, stdout, stderr }: Streams): Promise<0> {
    const options = readSimulateOptions(args);
    const simulation = new Simulation({ ...options, readLine: lineReader(options.format, options.by) });
    for (const name of options.logs) {
      const log = await openLog(name, stdin);
      const bar = new ProgressBar(stderr, log.name, log.bytes);
      try {
        for await (const lines of linesOf(log)) {
          for (const line of lines) simulation.add(line);
          bar.update(log.bytesRead());
        }
      } finally {
        bar.clear();
      }
    }
    if (simulation.requests === 0 && simulation.unreadableCount > 0) {
      const [first] = simulation.unreadable;
      throw new InputError(
        `none of the lines can be read (--format ${options.format}). The first: ${JSON.stringify(first?.text)}`,
      );
    }
    stdout.write(options.json ? jsonReport(simulation, options) : textReport(simulation, options, stdout));
    return 0;
  },
};
