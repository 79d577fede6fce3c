// What the single executable runs first: it compiles the bundle with the code that V8 has compiled for it, where there is some.
const { getAssetKeys, getRawAsset } = require('node:sea')
const { constants, Script } = require('node:vm')

const cache = 'code/starlane.cache'
const script = new Script(Buffer.from(getRawAsset('code/starlane.cjs')).latin1Slice(), {
  filename: 'starlane.cjs',
  importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  // Code that V8 does not take, of other flags for example, it leaves, and compiles what is called.
  ...(getAssetKeys().includes(cache) ? { cachedData: new Uint8Array(getRawAsset(cache)) } : {}),
})
script.runInThisContext()(require, module)
