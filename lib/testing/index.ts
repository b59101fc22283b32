import '../core/supported-node.ts';

export { type AdvanceTimeOptions, advanceTime, flushIo, type Tick } from './advance-time.ts';
export {
  type AnswerOptions,
  answer,
  answerDefaults,
  type Behaviour,
  type CutOptions,
  cut,
  fail,
  hang,
  type ResetOptions,
  reset,
  type SlowOptions,
  slow,
} from './behaviour.ts';
export { eventually } from './eventually.ts';
export { RedisSwitch, type RedisSwitchOptions, startRedisSwitch } from './redis-switch.ts';
export {
  type BackendOptions,
  type Plan,
  type ReceivedRequest,
  ScriptedBackend,
  startBackend,
} from './scripted-backend.ts';
export { TcpRelay } from './tcp-relay.ts';
