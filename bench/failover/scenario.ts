/** What befalls one of the three backends. */
export type Fault = 'killed' | 'stopped' | 'absent' | 'resets' | 'answers 500';

/** One way for a backend to fail while clients want answers, and for how long. */
export interface Scenario {
  readonly name: string;
  /** What happens, for the report. */
  readonly title: string;
  readonly method: 'GET' | 'POST';
  readonly fault: Fault;
  /** Whether the backend is like that before the gateway starts; else it fails in the middle of the load. */
  readonly fromStart: boolean;
  readonly faultMs: number;
}

export const SCENARIOS: readonly Scenario[] = [
  {
    name: 'kill',
    title: 'GETs, kill -9 in mid-load, started again after 3 s',
    method: 'GET',
    fault: 'killed',
    fromStart: false,
    faultMs: 3_000,
  },
  {
    name: 'stop',
    title: 'GETs, SIGSTOP in mid-load, SIGCONT after 5 s',
    method: 'GET',
    fault: 'stopped',
    fromStart: false,
    faultMs: 5_000,
  },
  {
    name: 'refused',
    title: 'GETs, nobody listens when the gateway starts; started after 3 s',
    method: 'GET',
    fault: 'absent',
    fromStart: true,
    faultMs: 3_000,
  },
  {
    name: 'reset',
    title: 'GETs, each connection is reset before the head from the start, for 3 s',
    method: 'GET',
    fault: 'resets',
    fromStart: true,
    faultMs: 3_000,
  },
  {
    name: '500',
    title: 'GETs, everything is answered with 500 for 3 s in mid-load',
    method: 'GET',
    fault: 'answers 500',
    fromStart: false,
    faultMs: 3_000,
  },
  {
    name: 'post-kill',
    title: 'POSTs, kill -9 in mid-load, started again after 3 s',
    method: 'POST',
    fault: 'killed',
    fromStart: false,
    faultMs: 3_000,
  },
];

/** When what happens within one scenario, in milliseconds. */
export interface Timeline {
  /**
   * Load before the fault, where the fault is not there from the start: at least as long as any gateway looks back. A
   * rule about the share of failures trips much sooner when it has seen little else.
   */
  readonly beforeMs: number;
  /** Longest fault. */
  readonly atMostFaultMs: number;
  /** Load after the backend's return; longer than a gateway lets a failed backend rest. */
  readonly afterMs: number;
}

export const TIMELINE: Timeline = { beforeMs: 10_000, atMostFaultMs: 60_000, afterMs: 3_000 };

/** Proves that everything still runs; too short for a backend to come back everywhere. */
export const SMOKE_TIMELINE: Timeline = { beforeMs: 200, atMostFaultMs: 300, afterMs: 200 };
/** Both kinds of fault, from the start and in mid-load, and both methods. */
export const SMOKE_SCENARIOS: readonly string[] = ['reset', 'post-kill'];
