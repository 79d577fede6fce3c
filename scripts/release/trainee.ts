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
const compiled = new Script(readFileSync(script, 'latin1'), {
  filename: 'starlane.cjs',
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
})
process.on('exit', () => {
  for (const setting of settings) setFlagsFromString(`--${setting}`)
  // As they are when the executable compiles: model/program/heap.ts sets them later.
  setFlagsFromString('--heap-growing-percent=0')
  setFlagsFromString('--semi-space-growth-factor=2')
  writeFileSync(output, compiled.createCachedData())
})
process.argv.splice(1, process.argv.length - 1, process.execPath, ...args)
compiled.runInThisContext()(require, {})
