// What the single executable runs first: it compiles the bundle with the code that V8 has compiled for it, where there is some.
import { createRequire } from 'node:module'
import { getAssetKeys, getRawAsset } from 'node:sea'
import { constants, Script } from 'node:vm'
import { codeFile, embed, loadEmbedded } from '../../proxy/model/program/package-files.ts'

declare const require: NodeJS.Require

const main = 'code/starlane.cjs'
const code = codeFile(main)
const addonFile = 'native/build/starlane.node'

embed({ files: getAssetKeys(), read: file => new Uint8Array(getRawAsset(file) as ArrayBuffer), modules: {} })
const text = getRawAsset(main) as ArrayBuffer
const addon = goesOn() ? loadAddon() : undefined
const script = new Script(addon?.textOf(text) ?? Buffer.from(text).toString('latin1'), {
  filename: 'starlane.cjs',
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  // Code that V8 does not take, of other flags for example, it leaves, and compiles what is called.
  ...(getAssetKeys().includes(code) ? { cachedData: new Uint8Array(getRawAsset(code) as ArrayBuffer) } : {}),
})
script.runInThisContext()(require, addon ? { [addonFile]: addon } : {})

/** Commands that run on have their text where it is in the executable, in place of 2 MiB that only they would have. */
function goesOn(): boolean {
  return ['run', 'gateway'].includes(process.argv[2] ?? '')
}

/** Where it cannot be loaded, the program says why, once it needs it. */
function loadAddon(): { textOf(bytes: ArrayBuffer): string } | undefined {
  try {
    return loadEmbedded(addonFile, createRequire(process.execPath))
  } catch {
    return undefined
  }
}
