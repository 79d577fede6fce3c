// Builds native/build/starlane.node, the addon of the engine native. Needs Linux and a C++17 compiler. Node-API is stable across
// versions of Node, so the headers of any version will do.
//
//     npm run build:native              fails with the reason where it cannot be built
//     node native/build.js --optional   the package's install script: never fails, since the engine streams works without it
//
//     node native/build.js --coverage --into=FOLDER   counts what is executed, for gcov (npm run coverage)
//
// clang also compiles the kernel's part of `proxy.offload: ebpf` into the addon (CLANG names another one). Without it the addon says why it
// has none.
//
// STARLANE_NATIVE=0 skips it. The reason for not building is kept beside the addon, for `starlane status`. The published package
// carries addons that were built for it (scripts/release/addons.ts), and compiles only where none of them fits.
import { spawn, spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import { availableParallelism } from 'node:os'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'

const here = dirname(fileURLToPath(import.meta.url))
const sources = join(here, 'src')
const optional = process.argv.includes('--optional')
const coverage = process.argv.includes('--coverage')
const folder =
  process.argv.find(argument => argument.startsWith('--into='))?.slice('--into='.length) ?? join(here, 'build')
const addon = join(folder, 'starlane.node')

const compiling = [
  ...['-std=c++17', '-fPIC', '-pthread', '-fno-rtti', '-fvisibility=hidden'],
  ...(coverage ? ['-O0', '--coverage', '-fprofile-update=atomic'] : ['-O2']),
  ...['-DNDEBUG', '-Wall', '-Wextra', '-U_FORTIFY_SOURCE', ...(coverage ? [] : ['-D_FORTIFY_SOURCE=2'])],
  '-fstack-protector-strong',
]
const linking = ['-shared', '-pthread', '-Wl,-z,relro,-z,now', ...(coverage ? ['--coverage'] : [])]

const why = await build().catch(error => error.message)
if (why) {
  keepReason(why)
  console.log(`native: not built: ${why}. The engine streams carries on without it.`)
  if (!optional) process.exitCode = 1
}

/** Resolves with the reason when it was not built. */
async function build() {
  if (process.env.STARLANE_NATIVE === '0') return 'STARLANE_NATIVE=0 is set'
  if (process.platform !== 'linux') return `it needs Linux (epoll, splice), and this is ${process.platform}`
  if (optional && existsSync(prebuilt())) return takePrebuilt()
  const compiler = [process.env.CXX, 'c++', 'g++', 'clang++'].find(name => name && versionOf(name) !== undefined)
  if (!compiler) return 'there is no C++ compiler; install g++ or clang, or set CXX, and run `npm run build:native`'
  const headers = findHeaders()
  if (!headers) return 'the headers of Node-API are missing; install the package node-api-headers'

  const clang = [process.env.CLANG, 'clang'].find(name => name && versionOf(name) !== undefined)
  const key = keyOf(compiler, clang)
  if (existsSync(addon) && readIfThere(join(folder, 'key')) === key) {
    console.log('native: up to date')
    return undefined
  }
  const since = performance.now()
  rmSync(join(folder, 'key'), { force: true })
  const objects = join(folder, 'objects')
  mkdirSync(objects, { recursive: true })
  const steering = await compileSteering(clang, join(objects, 'steering.bpf.o'))
  const units = sourceFiles()
    .filter(name => name.endsWith('.cc'))
    .map(name => ({ source: join(sources, name), object: join(objects, `${name.replaceAll('/', '-')}.o`) }))
  const failed =
    (await inParallel(
      units.map(({ source, object }) => () => {
        const defined = source.endsWith('kernel-binding.cc') ? steering : []
        return run(compiler, [...compiling, ...defined, `-I${sources}`, `-I${headers}`, '-c', source, '-o', object])
      }),
    )) ?? (await run(compiler, [...linking, ...units.map(({ object }) => object), '-o', `${addon}.new`]))
  // gcov reads beside them which lines there are.
  if (!coverage) rmSync(objects, { recursive: true })
  if (failed) return failed
  // Renamed into place: a process that has loaded the old one keeps it.
  renameSync(`${addon}.new`, addon)
  writeFileSync(join(folder, 'key'), key)
  rmSync(join(folder, 'reason'), { force: true })
  console.log(`native: built in ${((performance.now() - since) / 1000).toFixed(1)} s`)
  return undefined
}

/** What the addon is compiled with: the object for the kernel, or the reason why there is none. */
async function compileSteering(clang, object) {
  const source = join(sources, 'steering/steering.bpf.c')
  const why = clang
    ? await run(clang, ['-target', 'bpfel', '-O2', '-Wall', '-Wextra', '-c', source, '-o', object])
    : 'there was no clang when it was built'
  if (why === undefined) return [`-DSTARLANE_STEERING="${object}"`]
  if (clang) console.log(`native: built without proxy.offload: ${why}`)
  return [`-DSTARLANE_STEERING_WHY="${why.replace(/[^ -~]|["\\]/g, ' ')}"`]
}

/** Where the package carries the addon for this machine: `prebuilt/x64-glibc/starlane.node`. */
function prebuilt() {
  const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
  return join(here, 'prebuilt', `${process.arch}-${libc}`, 'starlane.node')
}

function takePrebuilt() {
  mkdirSync(folder, { recursive: true })
  copyFileSync(prebuilt(), `${addon}.new`)
  renameSync(`${addon}.new`, addon)
  rmSync(join(folder, 'reason'), { force: true })
  console.log('native: the addon of the package fits this machine')
  return undefined
}

/** A hash of everything the addon is built from; while it is unchanged, the addon is up to date. */
function keyOf(compiler, clang) {
  const hash = createHash('sha256')
  hash.update([process.arch, compiler, versionOf(compiler), ...compiling, ...linking].join('\n'))
  hash.update(clang ? `${clang} ${versionOf(clang)}` : 'no clang')
  for (const name of sourceFiles()) hash.update(`\n${name}\n`).update(readFileSync(join(sources, name)))
  return hash.digest('hex')
}

/** Headers, translation units and the source for the kernel, relative to native/src, which is the include path. */
function sourceFiles() {
  return readdirSync(sources, { recursive: true })
    .filter(name => /\.(cc|h|bpf\.c)$/.test(name))
    .sort()
}

/** Resolves with the first failure, once all jobs have ended. */
async function inParallel(jobs) {
  const failures = []
  const queue = jobs.values()
  const work = async () => {
    for (const job of queue) failures.push(await job())
  }
  await Promise.all(Array.from({ length: availableParallelism() }, work))
  return failures.find(failure => failure !== undefined)
}

/** Resolves with the reason when it failed. Its output is shown, except with --optional, which prints one line only. */
function run(command, args) {
  return new Promise(resolve => {
    const [program, ...before] = words(command)
    const child = spawn(program, [...before, ...args], { stdio: ['ignore', 'ignore', 'pipe'] })
    let said = ''
    child.stderr.on('data', text => {
      said += text
    })
    child.on('error', error => resolve(error.message))
    child.on('close', code => {
      if (!optional) process.stderr.write(said)
      const complaint = said.split('\n').find(line => line.includes('error'))
      resolve(code === 0 ? undefined : `${command} ended with ${code}${complaint ? `: ${complaint.trim()}` : ''}`)
    })
  })
}

function versionOf(compiler) {
  const [program, ...before] = words(compiler)
  const { status, stdout } = spawnSync(program, [...before, '--version'], { encoding: 'utf8' })
  return status === 0 ? stdout : undefined
}

/** CXX may hold arguments too, as make takes it: `zig c++ -target aarch64-linux-musl`. */
function words(command) {
  return command.trim().split(/ +/)
}

function findHeaders() {
  return [
    // In this package's own node_modules, or where npm hoists it for a package that depends on this one.
    join(here, '..', 'node_modules', 'node-api-headers', 'include'),
    join(here, '..', '..', 'node-api-headers', 'include'),
    join(dirname(process.execPath), '..', 'include', 'node'),
    '/usr/include/node',
    '/usr/local/include/node',
  ].find(place => existsSync(join(place, 'node_api.h')))
}

/** An addon that was built earlier stays in place. */
function keepReason(text) {
  try {
    mkdirSync(folder, { recursive: true })
    writeFileSync(join(folder, 'reason'), text)
  } catch {} // the folder is not writable; then the reason is only printed
}

function readIfThere(file) {
  return existsSync(file) ? readFileSync(file, 'utf8') : undefined
}
