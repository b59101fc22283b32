import { type AddressInfo, Server } from 'node:net';

// Loaded before an example: it listens on free ports of the loopback interface in place of those that it names, and
// tells the test which ones.
const listen = Server.prototype.listen;
Server.prototype.listen = function (this: Server, asked: number, ...rest: unknown[]) {
  this.once('listening', () => process.send?.({ asked, port: (this.address() as AddressInfo).port }));
  const callbacks = rest.filter((one) => typeof one === 'function') as (() => void)[];
  return Reflect.apply(listen, this, [0, '127.0.0.1', ...callbacks]);
} as typeof listen;
