export { TcpRelay } from '../../lib/testing/tcp-relay.ts';
