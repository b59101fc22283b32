import { rateLimitAlgorithms } from '../../rate-limit/algorithms/registry.ts';
import { type Command, InputError, type Streams } from '../command.ts';
import { oneLine, ProgressBar, safe } from '../terminal.ts';
import { jsonReport } from './json-report.ts';
import { lineReader } from './log-line.ts';
import { linesOf, openLog } from './log-source.ts';
import { readSimulateOptions } from './simulate-options.ts';
import { Simulation } from './simulation.ts';
import { textReport } from './text-report.ts';

const HELP = `Usage: expressway simulate <log...> [--limit <limit>] [options]

Replays access logs through a limiter, and shows which clients it would have limited, how often and when. It sends
nothing anywhere, and counts like ipRateLimit(), on the clock of the log. It also prints how many requests clients make
per window, and how many requests common limits would refuse; without --limit, it prints only that.

  <log...>             files, read one after the other; names that end in .gz are gzipped, - is standard input
  --limit <limit>      requests per window and client, like 100/1m; several windows with commas: 100/1m,1000/1h
                       (units: ms, s, m, h, d)
  --algorithm <name>   ${rateLimitAlgorithms.join(', ')}; default: sliding-window
  --burst <n>          size of the token bucket; default: the limit
  --by <field>         what identifies a client: ip (default), or a field: any of a JSON line; user, method, path,
                       status, referer or agent of the other formats. Lines without it are counted by address
  --format <name>      auto (default: each line for itself), common, combined, vhost_combined or json
  --time-field <name>  the field of JSON lines that has the time
  --ip-field <name>    the one that has the address; dots name a path, as in request.remote_ip
  --max-bad <share>    lines that may be left out because they cannot be read, like 0.01 or 1% (default); with more the
                       exit code is 1
  --top <n>            number of clients in the list, default 20
  --json               prints one JSON object in place of the text
  --ipv6-subnet <n>    leading bits of an IPv6 address that make one client, 32 to 64, default 56
  --max-keys <n>       clients that are counted separately, default 1000000; it bounds the memory

Lines:
  common, combined     as Apache and nginx write them; vhost_combined has the virtual host in front
  json                 one object per line, as this gateway, pino, nginx, Traefik, Caddy or Envoy write it; the time in
                       ISO 8601 (UTC where it has no zone), epoch milliseconds or seconds. For others name the fields

A line with an earlier time than a line before it counts at the time of that line. Lines that cannot be read, and lines
whose time is more than an hour off, are left out and counted by problem; the first are shown.

Exit codes: 0, 1 if a log cannot be read or too many of its lines are left out, 2 for invalid arguments.

Examples:
  expressway simulate access.log
  expressway simulate access.log --limit 100/1m
  expressway simulate access.log.1.gz access.log --limit 100/1m,1000/1h --top 5
  expressway simulate access.log --limit 600/1m --algorithm token-bucket --burst 50
  kubectl logs gateway | expressway simulate - --limit 100/1m --by userId --format json --json
`;

export const simulate: Command = {
  name: 'simulate',
  summary: 'replays an access log through a rate limit, and shows which clients it would have limited',
  help: HELP,

  async run(args, { stdin, stdout, stderr }: Streams): Promise<0 | 1> {
    const options = readSimulateOptions(args);
    const simulation = new Simulation({ ...options, readLine: lineReader(options.format, options.by, options.fields) });
    for (const name of options.logs) {
      const log = await openLog(name, stdin);
      simulation.startLog(log.name);
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
    const windows = simulation.finish();
    const [first] = simulation.bad;
    if (simulation.requests === 0 && first !== undefined) {
      throw new InputError(
        `no line can be read (--format ${options.format}). The first ${oneLine(first.problem)}: "${safe(first.text)}"`,
      );
    }
    const report = options.json ? jsonReport : textReport;
    stdout.write(report(simulation, windows, options, stdout));
    if (simulation.badShare <= options.maxBad) return 0;
    const percent = (share: number): string => `${Number((100 * share).toPrecision(2))} %`;
    stderr.write(
      `expressway simulate: ${percent(simulation.badShare)} of the lines were left out, more than --max-bad allows (${percent(options.maxBad)})\n`,
    );
    return 1;
  },
};
