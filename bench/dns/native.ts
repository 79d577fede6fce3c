/** The rows with native sockets, where the addon is built. */
import { fileURLToPath } from 'node:url'
import { loadAddon } from '../../proxy/dataplane/native/addon.ts'

const serve = fileURLToPath(new URL('serve.ts', import.meta.url))

export function nativeKinds(services: number, changesPerSecond: number) {
  return [
    kind('starlane, native', services, 0),
    kind(`starlane, native, ${changesPerSecond} changes/s`, services, changesPerSecond),
  ]
}

function kind(name: string, services: number, changesPerSecond: number) {
  return {
    name,
    setup: 'as starlane, with proxy.engine native',
    command: async (_folder: string, port: number) =>
      built() ? [process.execPath, serve, 'native', ...[port, services, changesPerSecond].map(String)] : undefined,
  }
}

function built(): boolean {
  try {
    return loadAddon() !== undefined
  } catch {
    return false
  }
}
