# The image of Starlane: compiled JavaScript, the native engine and their libraries on Alpine. It runs as an unprivileged user
# and never writes to its root file system. `docker build -t REGISTRY/starlane:TAG .`
#
# The base is pinned by the digest of its index, which has both architectures: `docker buildx imagetools inspect node:TAG` prints that of another
# version.

FROM node:24.21.0-alpine@sha256:ebfe2f90462722a7a4de65e91990e97fe0d401c70e0e762c5b53302f905ec1c1 AS build
WORKDIR /src
# The compilers stay in this stage. The addon needs only libstdc++, which the Node image has. clang compiles what runs in the kernel.
RUN apk add --no-cache g++ clang linux-headers
# Without install scripts: the package `node` would download Node 24, which this image already has.
COPY package.json package-lock.json .npmrc ./
RUN npm ci --ignore-scripts
COPY tsconfig.json tsconfig.build.json ./
COPY proxy proxy
COPY plugins plugins
COPY native native
# npm prune keeps TypeScript, because it is an optional peer of a library. It is more than a third of node_modules.
RUN npm run build && npm run build:native && npm prune --omit=dev --ignore-scripts && rm -rf node_modules/typescript

FROM node:24.21.0-alpine@sha256:ebfe2f90462722a7a4de65e91990e97fe0d401c70e0e762c5b53302f905ec1c1
# `ip` adds the local routes of `proxy.anyip`, `nft` the packet rules of `proxy.nftables`; the underlay needs `bridge` too.
RUN apk add --no-cache iproute2 nftables \
 && rm -rf /usr/local/lib/node_modules/npm /usr/local/bin/npm /usr/local/bin/npx /opt/yarn*
WORKDIR /starlane
COPY --from=build /src/package.json package.json
COPY --from=build /src/node_modules node_modules
COPY --from=build /src/dist dist
COPY --from=build /src/native/build native/build
COPY bin bin
COPY conf conf
RUN ln -s /starlane/bin/starlane.js /usr/local/bin/starlane
ENV NODE_ENV=production
# A number, because `runAsNonRoot` cannot check a name.
USER 65532:65532
ENTRYPOINT ["starlane"]
CMD ["run", "-c", "/etc/starlane/starlane.yaml"]
