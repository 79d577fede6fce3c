// Makes the single executable: Node's own binary with the bundle and the package's files in it (Node: "Single executable
// applications").
import { execFileSync } from 'node:child_process'
import { chmodSync, copyFileSync, globSync, mkdirSync, statSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { codeFile } from '../../proxy/model/program/package-files.ts'
import type { Bundle } from './bundle.ts'
import { compiledCode } from './compiled-code.ts'

export interface ExecutableParts {
  /** The checkout. */
  readonly root: string
  /** A folder for intermediate files. */
  readonly work: string
  /** The binary of Node for the target, of the version that runs this script. */
  readonly node: string
  readonly bundle: Bundle
  /** The addon for the target; without one only the engine `streams` is there. */
  readonly addon: string | undefined
  /** Whether this machine can run the target: V8's code cache is made by running it. */
  readonly native: boolean
  readonly output: string
}

/**
 * V8's flags; NODE_OPTIONS counts too. Young objects get 2 MiB, and up to 16 once the heap is large: a connection leaves little that lives, and a
 * start no less, so that more room would cost memory and save no time. None of them may be one that V8 compares
 * before it takes compiled code, as it does most: it would compile Node's own modules (proxy/model/program/heap.ts has those, for later).
 */
export const flags: readonly string[] = ['--min-semi-space-size=2', '--max-semi-space-size=16']

/** What the program reads of its package, beside its code. */
const assetGlobs = ['proxy/admin/page/*', 'conf/**/*', 'deploy/**/*', 'LICENSE']

// Marks where Node looks for the application in its own binary; https://github.com/nodejs/postject.
const fuse = 'NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2'

export async function makeExecutable(parts: ExecutableParts): Promise<void> {
  const { root, work, node, bundle, addon, native, output } = parts
  mkdirSync(work, { recursive: true })
  const main = 'code/starlane.cjs'
  const script = join(work, basename(main))
  const blob = join(work, 'starlane.blob')
  const config = join(work, 'sea.json')
  writeFileSync(script, bundle.main)
  writeFileSync(join(work, 'loader.cjs'), bundle.loader)
  const files = globSync(assetGlobs, { cwd: root }).sort()
  const assets = Object.fromEntries(
    files.filter(file => statSync(join(root, file)).isFile()).map(file => [file, join(root, file)]),
  )
  for (const [name, text] of bundle.libraries) {
    const file = join(work, basename(name))
    writeFileSync(file, text)
    assets[name] = file
  }
  if (addon) assets['native/build/starlane.node'] = addon
  assets[main] = script
  if (native) {
    const compiled = await compiledCode({ work: join(work, 'compiled'), main, assets, flags })
    for (const [script, code] of compiled) {
      const file = join(work, basename(codeFile(script)))
      writeFileSync(file, code)
      assets[codeFile(script)] = file
    }
  }
  writeFileSync(
    config,
    JSON.stringify({
      // Node writes this path into the executable, so it must not name a folder of this machine.
      main: 'loader.cjs',
      output: blob,
      disableExperimentalSEAWarning: true,
      useSnapshot: false,
      execArgv: flags,
      assets,
    }),
  )
  execFileSync(process.execPath, ['--experimental-sea-config', config], {
    cwd: work,
    stdio: ['ignore', 'ignore', 'pipe'],
  })

  copyFileSync(node, output)
  chmodSync(output, 0o755)
  const postject = createRequire(import.meta.url).resolve('postject/dist/cli.js')
  // It warns about notes of Node's binary that it does not change.
  execFileSync(process.execPath, [postject, output, 'NODE_SEA_BLOB', blob, '--sentinel-fuse', fuse], {
    stdio: ['ignore', 'ignore', 'pipe'],
  })
}
