# syntax=docker/dockerfile:1
# The example gateway, and its demo backends: docker build -t expressway .
ARG NODE_VERSION=26

FROM node:${NODE_VERSION}-slim AS build
WORKDIR /gateway
COPY package.json package-lock.json ./
# Without scripts: the package "node" is for machines that have none as new as this image's.
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY lib lib
COPY example-gateway example-gateway
RUN npm run build
# What only tests and tools need goes; the versions that stay are those of the lockfile.
RUN node example-gateway/hosting/runtime-package.js && npm install --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:${NODE_VERSION}-slim
ENV NODE_ENV=production
WORKDIR /gateway
COPY --from=build /gateway/package.json ./
COPY --from=build /gateway/node_modules node_modules
COPY --from=build /gateway/dist dist
# The image's own user without privileges; it can write nowhere here, and need not.
USER node
# The operator's listener must be reachable from other containers: publish only the gateway's own port.
ENV ADMIN_HOST=0.0.0.0
EXPOSE 8080 9090
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s CMD ["node", "dist/example-gateway/hosting/healthcheck.js"]
# Node itself is process 1, so that it gets the signals: SIGTERM drains, SIGHUP reloads.
CMD ["node", "dist/example-gateway/server.js"]
