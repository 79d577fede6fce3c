// Bundles the program and its plugins into one CommonJS file, which is what a single executable can hold, and each large library that few
// meshes need into one of its own: V8 keeps the whole text of a file that it has loaded.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { type BuildOptions, build, type Plugin } from 'esbuild'
import { libraryFile, threadFile } from '../../proxy/model/program/package-files.ts'

export interface Bundle {
  /** Runs first, and compiles `main`. */
  readonly loader: Uint8Array
  readonly main: Uint8Array
  /** By the name under which the executable carries it. */
  readonly libraries: ReadonlyMap<string, Uint8Array>
}

/** Libraries that the code imports where it needs them. */
const libraries = ['undici', '@grpc/grpc-js', '@peculiar/x509', 'prom-client', 'pino-pretty']

/**
 * What their modules are, where it is less than all of them. Of undici only what makes requests is used; caches, mocks, `fetch` and WebSockets
 * would take a start twice the time.
 */
const contentsOf: Readonly<Record<string, string>> = {
  undici: `
    Object.assign(require('undici/lib/dispatcher/dispatcher.js').prototype, require('undici/lib/api'))
    exports.Agent = require('undici/lib/dispatcher/agent.js')
    exports.Client = require('undici/lib/dispatcher/client.js')
    exports.ProxyAgent = require('undici/lib/dispatcher/proxy-agent.js')
    exports.buildConnector = require('undici/lib/core/connect.js')`,
}

/** Modules that run in threads of their own, by path. */
const threads = ['proxy/sources/manifests/manifest-thread']

/** `root` is the checkout. */
export async function bundle(root: string): Promise<Bundle> {
  const main = await text({
    stdin: { contents: entry(root), resolveDir: root, sourcefile: 'entry.ts', loader: 'ts' },
    // The bundle has no place on disk; nothing is found beside it.
    define: { 'import.meta.url': 'executableUrl', 'process.env.NODE_ENV': '"production"' },
    // loader.ts calls it.
    banner: {
      js: "(function (require, loadedFiles) {const executableUrl = require('node:url').pathToFileURL(process.execPath).href;",
    },
    footer: { js: '})' },
    plugins: [apart(root), onDemand, codecAlone(root)],
  })
  const loader = await text({
    entryPoints: [join(root, 'scripts/release/loader.ts')],
    define: { 'import.meta.url': '"file:///"' },
  })
  const texts = libraries.map(async name => {
    const contents = contentsOf[name] ?? `module.exports = require(${JSON.stringify(name)})`
    return [
      libraryFile(name),
      await text({
        stdin: { contents, resolveDir: root, loader: 'js' },
        // Called by `embeddedLibrary`.
        banner: { js: '(function (module, exports, require) {' },
        footer: { js: '})' },
      }),
    ] as const
  })
  const parts = threads.map(async module => {
    const contents = `import './${module}.ts'`
    return [threadFile(module), await text({ stdin: { contents, resolveDir: root, loader: 'ts' } })] as const
  })
  return { loader, main, libraries: new Map(await Promise.all([...texts, ...parts])) }
}

/** Parts of Node that a start need not load, since what uses them comes later or never: TLS alone takes 10 ms. */
const late = ['node:child_process', 'node:http2', 'node:https', 'node:tls', 'node:worker_threads']

/** Loads each of them when one of its exports is first used. */
const onDemand: Plugin = {
  name: 'parts of Node on demand',
  setup({ onResolve, onLoad }) {
    onResolve({ filter: /^[a-z]/, namespace: 'file' }, ({ path }) => {
      const name = path.startsWith('node:') ? path : `node:${path}`
      return late.includes(name) ? { path: name, namespace: 'late' } : undefined
    })
    onLoad({ filter: /.*/, namespace: 'late' }, ({ path }) => {
      const names = Object.keys(process.getBuiltinModule(path) as object)
      return {
        contents: `for (const name of ${JSON.stringify(names)})
          Object.defineProperty(exports, name, { enumerable: true, get: () => process.getBuiltinModule('${path}')[name] })`,
      }
    })
  },
}

/** Of dns2 only the codec is used; its clients and servers would bring HTTP/2 and TLS with them. */
function codecAlone(root: string): Plugin {
  return {
    name: 'the codec of dns2 alone',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^dns2$/ }, ({ path }) => ({ path, namespace: 'codec' }))
      onLoad({ filter: /.*/, namespace: 'codec' }, () => ({
        contents: `exports.Packet = require('./node_modules/dns2/packet.js')`,
        resolveDir: root,
      }))
    },
  }
}

/** Leaves the libraries out of the main bundle: an import of one loads it from the executable. */
function apart(root: string): Plugin {
  return {
    name: 'libraries apart',
    setup({ onResolve, onLoad }) {
      onResolve({ filter: /^[@a-z]/ }, ({ path }) =>
        libraries.includes(path) ? { path, namespace: 'library' } : undefined,
      )
      onLoad({ filter: /.*/, namespace: 'library' }, ({ path }) => ({
        contents: `module.exports = require('./proxy/model/program/package-files.ts').embeddedLibrary(${JSON.stringify(path)})`,
        resolveDir: root,
      }))
    },
  }
}

async function text(options: BuildOptions): Promise<Uint8Array> {
  const { outputFiles } = await build({
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    // Names stay, for stack traces and for classes that are known by name.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    logLevel: 'warning',
    // A `require` of a variable is how libraries look for optional parts that this program does not use.
    logOverride: { 'unsupported-require-call': 'silent' },
    ...options,
  })
  const [file] = outputFiles ?? []
  if (!file) throw new Error('the bundle is empty')
  return file.contents
}

/** The built-in plugins and the plugin API are embedded as modules that load on demand, as they do from files. */
function entry(root: string): string {
  const plugins = readdirSync(join(root, 'plugins')).filter(name => existsSync(join(root, 'plugins', name, 'index.ts')))
  const modules = plugins.map(name => `'plugins/${name}': () => import('./plugins/${name}/index.ts'),`)
  return `
    import { getAssetKeys, getRawAsset } from 'node:sea'
    import { embed } from './proxy/model/program/package-files.ts'
    embed({
      files: getAssetKeys(),
      read: file => new Uint8Array(getRawAsset(file)),
      modules: { starlane: () => import('./proxy/plugin.ts'), ${modules.join(' ')} },
      loaded: loadedFiles,
    })
    void import('./proxy/cli/main.ts').then(({ start }) => start())
  `
}
