import { NodeTarget } from '../harness/target.ts';

/** Every target by name; a subcommand picks the ones that its question needs. */
export const FLOOR = new NodeTarget('floor', 'bare node:http + undici Pool, round robin over 2 pools');
export const HPM = new NodeTarget('hpm', 'http-proxy-middleware + express-rate-limit + cockatiel on Express 5');
export const FASTIFY = new NodeTarget('fastify', '@fastify/http-proxy, bare');
export const SUITE = new NodeTarget('suite', 'Expressway: ipRateLimit + circuitBreaker + roundRobinProxy on Express 5');
export const EXPRESS = new NodeTarget('express', 'Express 5 that answers by itself, no proxy');
export const TRANSPORT = new NodeTarget('transport', 'http-proxy-middleware with undiciTransport(), 1 backend');
export const PROXY = new NodeTarget('proxy', 'roundRobinProxy alone');
export const PROXY_CIRCUIT = new NodeTarget('proxy-circuit', 'circuitBreaker + roundRobinProxy');

export const ALL = [FLOOR, HPM, FASTIFY, SUITE, EXPRESS, TRANSPORT, PROXY, PROXY_CIRCUIT];
