import expressway = require('expressway');
import testing = require('expressway/testing');

const limiter: expressway.IpRateLimiter = expressway.ipRateLimit({ limit: 5 });
const behaviour: testing.Behaviour = testing.hang();
if (limiter.mode !== 'memory' || typeof behaviour !== 'function') throw new Error('not what the types say');
limiter.close();
