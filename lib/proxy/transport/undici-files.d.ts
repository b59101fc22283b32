// undici declares types for the whole package only.
declare module 'undici/lib/core/connect.js' {
  import type undici from 'undici';

  const buildConnector: typeof undici.buildConnector;
  export default buildConnector;
}

declare module 'undici/lib/core/errors.js' {
  import type undici from 'undici';

  const errors: typeof undici.errors;
  export default errors;
}

declare module 'undici/lib/dispatcher/client.js' {
  import type undici from 'undici';

  const Client: typeof undici.Client;
  export default Client;
}

declare module 'undici/lib/api/api-request.js' {
  const request: import('undici').Client['request'];
  export default request;
}
