// Builds native/build/starlane.node: `npm run build:native`. Needs a C++17 compiler and Linux; Node-API is
// stable across versions of Node, so the headers of any will do.
// Where it cannot be built, one line says why, and Starlane runs as before.
import { spawnSync } from 'node:child_process'
import { existsSync, globSync, mkdirSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))

const flags = [
  ...['-std=c++17', '-shared', '-fPIC', '-pthread', '-fno-rtti', '-fvisibility=hidden', '-O2', '-DNDEBUG'],
  ...['-Wall', '-Wextra', '-D_FORTIFY_SOURCE=2', '-fstack-protector-strong', '-Wl,-z,relro,-z,now'],
]

const why = build()
if (why) {
  console.error(`native: not built: ${why}. The engine streams needs none of it.`)
  process.exit(1)
}

function build() {
  if (process.platform !== 'linux') return `it needs Linux (epoll, splice), and this is ${process.platform}`
  const compiler = [process.env.CXX, 'c++', 'g++', 'clang++'].find(name => name && runs(name))
  if (!compiler) return 'there is no C++ compiler; install g++ or clang, or set CXX'
  const headers = findHeaders()
  if (!headers) return 'the headers of Node-API are missing; install the package node-api-headers'
  const folder = join(here, 'build')
  mkdirSync(folder, { recursive: true })
  const target = join(folder, 'starlane.node')
  const { status, error } = spawnSync(compiler, [...flags, `-I${headers}`, ...sources(), '-o', target], {
    stdio: 'inherit',
  })
  if (status !== 0) return error ? error.message : `${compiler} ended with ${status}`
  console.log(`native: built ${target}`)
  return undefined
}

function sources() {
  return globSync(join(here, 'src', '*.cc')).sort()
}

function runs(compiler) {
  return spawnSync(compiler, ['--version'], { stdio: 'ignore' }).status === 0
}

function findHeaders() {
  const modules = join(here, '..', 'node_modules')
  return [
    join(modules, 'node-api-headers', 'include'),
    ...globSync(join(modules, 'node{,-linux-*}', '**', 'include', 'node')),
    join(dirname(process.execPath), '..', 'include', 'node'),
    '/usr/include/node',
    '/usr/local/include/node',
  ].find(folder => existsSync(join(folder, 'node_api.h')))
}
