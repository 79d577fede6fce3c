// Starts `starlane run -c FILE` in this process until it is ready, and prints the URLs of all modules loaded so far, as
// JSON; those that are bundled with Node as `node:internal/deps/…`.
import { registerHooks } from 'node:module'

const [, , config = ''] = process.argv
const urls = new Set<string>()
registerHooks({
  load(url, context, next) {
    urls.add(url)
    return next(url, context)
  },
})
const { main } = await import('../../proxy/cli/main.ts')
const { processIo } = await import('../../proxy/cli/terminal/io.ts')
const stderr = {
  write(text: string): boolean {
    if (text.includes('"event":"ready"')) process.emit('SIGTERM')
    else if (text.includes('"event":"stop.draining"')) process.stdout.write(JSON.stringify([...urls, ...bundled()]))
    return true
  },
}
process.exitCode = await main(['run', '-c', config], { ...processIo, stderr })

function bundled(): string[] {
  const { moduleLoadList } = process as unknown as { moduleLoadList: readonly string[] }
  return moduleLoadList
    .flatMap(name => /^NativeModule (internal\/deps\/.+)/.exec(name)?.[1] ?? [])
    .map(name => `node:${name}`)
}
