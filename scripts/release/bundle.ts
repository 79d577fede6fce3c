// Bundles the program, its plugins and the libraries into one CommonJS file, which is what a single executable can hold.
import { existsSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { build } from 'esbuild'

/** `root` is the checkout. Returns the text of the bundle. */
export async function bundle(root: string): Promise<Uint8Array> {
  const { outputFiles } = await build({
    stdin: { contents: entry(root), resolveDir: root, sourcefile: 'entry.ts', loader: 'ts' },
    bundle: true,
    write: false,
    platform: 'node',
    format: 'cjs',
    target: 'node24',
    // Names stay, for stack traces and for classes that are known by name.
    minifyWhitespace: true,
    minifySyntax: true,
    legalComments: 'none',
    // The bundle has no place on disk; nothing is found beside it.
    define: { 'import.meta.url': 'executableUrl', 'process.env.NODE_ENV': '"production"' },
    banner: { js: "const executableUrl = require('node:url').pathToFileURL(process.execPath).href;" },
    logLevel: 'warning',
    // A `require` of a variable is how libraries look for optional parts that this program does not use.
    logOverride: { 'unsupported-require-call': 'silent' },
  })
  const [file] = outputFiles
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
    })
    void import('./proxy/cli/main.ts').then(({ start }) => start())
  `
}
