// Runs the bundle as the executable does, from files, and writes the code that V8 has compiled by the end of the process, of the bundle and
// of each library that it has loaded: that of every function that was called. `compiled-code.ts` starts it.
//
//     node trainee.ts MAIN ASSETS OUTPUT ARGUMENTS…
//
// ASSETS is a JSON file of the files by the names under which the executable has them, MAIN the name of the bundle. OUTPUT is a folder, where
// the code of a script is found by the last part of its name.
import { readFileSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { basename, join } from 'node:path'
import { setFlagsFromString } from 'node:v8'
import * as vm from 'node:vm'
import type { settledFlags } from '../../proxy/model/program/heap.ts'
import { codeFile } from '../../proxy/model/program/package-files.ts'

const [main = '', assets = '', output = '', ...args] = process.argv.slice(2)
const files = new Map(Object.entries(JSON.parse(readFileSync(assets, 'utf8')) as Record<string, string>))

const sea = {
  getAssetKeys: () => [...files.keys()],
  getRawAsset: (name: string) => new Uint8Array(readFileSync(files.get(name) ?? name)).buffer,
}
const builtin = createRequire(import.meta.url)
const scripts = new Map<string, vm.Script>()

/** By name: what the program compiles is noted. */
class Script extends vm.Script {
  constructor(text: string, options: vm.ScriptOptions) {
    super(text, options)
    scripts.set(options.filename ?? '', this)
  }
}

const replaced: Readonly<Record<string, unknown>> = { 'node:sea': sea, 'node:vm': { ...vm, Script } }
const require = (name: string) => replaced[name] ?? builtin(name)

// Optimized code, and how old code is, depend on how fast the machine is. V8 takes code of its own flags alone, so they are set back.
const settings = ['flush-bytecode', 'opt', 'sparkplug', 'maglev']
for (const setting of settings) setFlagsFromString(`--no-${setting}`)
// V8's own values of what the program sets once it has started (model/program/heap.ts): the executable has them when it compiles.
const defaults: Record<keyof typeof settledFlags, number> = {
  'heap-growing-percent': 0,
  'page-promotion-threshold': 70,
  'semi-space-growth-factor': 2,
  'gc-memory-reducer-start-delay-ms': 8000,
}
const compiled = new Script(readFileSync(files.get(main) ?? main, 'latin1'), {
  filename: basename(main),
  importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
})
process.on('exit', () => {
  for (const setting of settings) setFlagsFromString(`--${setting}`)
  for (const [name, value] of Object.entries(defaults)) setFlagsFromString(`--${name}=${value}`)
  for (const [name, script] of scripts) writeFileSync(join(output, basename(codeFile(name))), script.createCachedData())
})
process.argv.splice(1, process.argv.length - 1, process.execPath, ...args)
compiled.runInThisContext()(require, {})
