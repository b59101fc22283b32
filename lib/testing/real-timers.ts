/** Timers as they are when this module is loaded: mock timers that are switched on later do not stop them. */
export const { setTimeout: realTimeout, setImmediate: realImmediate } = globalThis;
