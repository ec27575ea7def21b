# syntax=docker/dockerfile:1
# Sello in a container: non-root, any user id of group 0 (as OpenShift assigns), a root file system that may be read-only.
# Mount: /etc/sello (configuration, certificates), /var/lib/sello (keystore), /var/log/sello (audit).
# Run:   --read-only --cap-drop=ALL --security-opt=no-new-privileges; docs/operations.md says what else.

FROM node:26-slim AS build
WORKDIR /build
COPY package.json package-lock.json ./
COPY tools/node tools/node
RUN npm ci --ignore-scripts --no-audit --no-fund
COPY tsconfig.json tsconfig.build.json ./
COPY tools/build.ts tools/build.ts
COPY src src
RUN npm run build && npm prune --omit=dev --ignore-scripts --no-audit --no-fund

FROM node:26-slim
ARG SELLO_COMMIT=unknown
LABEL org.opencontainers.image.title="Sello" \
      org.opencontainers.image.description="Key server for S3-compatible object storage" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="$SELLO_COMMIT"
ENV NODE_ENV=production \
    SELLO_COMMIT=$SELLO_COMMIT \
    SELLO_LIVEZ=http://127.0.0.1:7374/livez \
    UV_THREADPOOL_SIZE=32
WORKDIR /opt/sello
COPY --from=build /build/package.json ./
COPY --from=build /build/node_modules node_modules
COPY --from=build /build/dist dist
COPY LICENSE ./
RUN install -d -o 65532 -g 0 -m 0770 /var/lib/sello /var/log/sello \
 && install -d -o 0 -g 0 -m 0755 /etc/sello
USER 65532:0
EXPOSE 7373
STOPSIGNAL SIGTERM
# The probe listener of a Sello configuration is 127.0.0.1:7374; of a KES file it is off until `sello.probes` names one.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 \
  CMD ["node", "-e", "fetch(process.env.SELLO_LIVEZ).then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
# Node itself is the entry point: no shell stands between it and SIGTERM. The flag: docs/benchmarks.md.
ENTRYPOINT ["node", "--max-semi-space-size=8", "--disable-warning=ExperimentalWarning", "/opt/sello/dist/main.js"]
CMD ["serve", "--config", "/etc/sello/sello.yaml"]
