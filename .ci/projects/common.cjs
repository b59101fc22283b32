require('./request.cjs')(
  require('expressway'),
  require('expressway/testing'),
  require('express'),
  require('node:http'),
);
