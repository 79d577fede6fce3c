// Runs the bundle as the executable does, from files, and writes the code that V8 has compiled by the end of the process: that of every
// function that was called. `compiled-code.ts` starts it.
//
//     node trainee.ts SCRIPT ASSETS OUTPUT ARGUMENTS…
//
// SCRIPT is the bundle, ASSETS a JSON file of the files by the names under which the executable has them.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { setFlagsFromString } from 'node:v8'
import { constants, Script } from 'node:vm'
import type { settledFlags } from '../../proxy/model/program/heap.ts'

const [script = '', assets = '', output = '', ...args] = process.argv.slice(2)
const files = new Map(Object.entries(JSON.parse(readFileSync(assets, 'utf8')) as Record<string, string>))

const sea = {
  getAssetKeys: () => [...files.keys()],
  getRawAsset: (name: string) => new Uint8Array(readFileSync(files.get(name) ?? name)).buffer,
}
const builtin = createRequire(import.meta.url)
const require = (name: string) => (name === 'node:sea' ? sea : builtin(name))

// Optimized code, and how old code is, depend on how fast the machine is. V8 takes code of its own flags alone, so they are set back.
const settings = ['flush-bytecode', 'opt', 'sparkplug', 'maglev']
for (const setting of settings) setFlagsFromString(`--no-${setting}`)
// V8's own values of what the program sets once it has started (model/program/heap.ts): the executable has them when it compiles.
const defaults: Record<keyof typeof settledFlags, number> = {
  'heap-growing-percent': 0,
  'semi-space-growth-factor': 2,
  'gc-memory-reducer-start-delay-ms': 8000,
}
const compiled = new Script(readFileSync(script, 'latin1'), {
  filename: 'starlane.cjs',
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
})
process.on('exit', () => {
  for (const setting of settings) setFlagsFromString(`--${setting}`)
  for (const [name, value] of Object.entries(defaults)) setFlagsFromString(`--${name}=${value}`)
  writeFileSync(output, compiled.createCachedData())
})
process.argv.splice(1, process.argv.length - 1, process.execPath, ...args)
compiled.runInThisContext()(require, {})
