/**
 * Stress test of the native pump and the batch sockets under sanitizers, without Node and with misbehaving clients
 * (`native/stress/`):
 *
 *     npm run stress:native -- --connections=20000
 *
 * Runs with AddressSanitizer, LeakSanitizer and UndefinedBehaviorSanitizer, then with ThreadSanitizer. Exits with 1 at the
 * first finding. Needs OpenSSL 3 with its headers' library (libssl-dev), and libnghttp2.
 */
import { spawnSync } from 'node:child_process'
import { globSync, mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { commandLine } from './command-line.ts'

const { values } = commandLine(import.meta.url, { options: { connections: { type: 'string', default: '5000' } } })
const folder = 'native/build'
const sources = [
  // Everything but node/, which needs Node-API.
  ...globSync('native/src/{batch,pump,serving,socket,tunnel}/*.cc'),
  ...globSync('native/stress/*.cc'),
]

mkdirSync(folder, { recursive: true })
// Node brings these libraries for the addon; here those of the machine stand for them.
const libraries = ['-lssl', '-lcrypto', '-l:libnghttp2.so.14']
const [certificate, key] = [join(folder, 'stress.crt'), join(folder, 'stress.key')]
const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes', '-keyout', key]
run('openssl', ['req', '-x509', ...newKey, '-out', certificate, '-days', '2', '-subj', '/CN=stress'])
for (const sanitizers of ['address,undefined', 'thread']) {
  const program = `${folder}/stress-${sanitizers.replace(',', '-')}`
  const flags = ['-std=c++17', '-O1', '-g', '-fno-omit-frame-pointer', '-pthread', `-fsanitize=${sanitizers}`]
  run(process.env.CXX ?? 'c++', [
    ...flags,
    '-fno-sanitize-recover=all',
    '-Inative/src',
    ...sources,
    ...libraries,
    '-o',
    program,
  ])
  console.log(`stress: ${sanitizers}`)
  // ThreadSanitizer's shadow memory needs address space randomization off.
  for (const pumps of ['1', '3']) run('setarch', ['-R', program, values.connections, pumps, certificate, key])
}

function run(command: string, args: readonly string[]): void {
  const { status, error } = spawnSync(command, args, { stdio: 'inherit' })
  if (status === 0) return
  console.error(`stress: ${command} ${error?.message ?? `exited with ${status}`}`)
  process.exit(1)
}
