/** A responder on a wildcard answers from the address that was asked. */
import { execFile } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import t from 'tap'
import { batchSockets } from '../dns.ts'

const run = promisify(execFile)
const child = fileURLToPath(new URL('wildcard-child.ts', import.meta.url))
const prepare = [
  'ip link set lo up',
  ...['10.9.0.1/24', '10.9.0.2/24', '192.168.77.5/16'].map(address => `ip addr add ${address} dev lo`),
  ...['fd00:9::1/64', 'fd00:9::2/64'].map(address => `ip -6 addr add ${address} dev lo nodad`),
].join(' && ')

function inNamespace(...command: string[]) {
  return run('unshare', ['-n', 'sh', '-c', `${prepare} && exec "$@"`, 'sh', ...command])
}

const possible = await inNamespace('dig', '-v').then(
  () => false as const,
  () => 'needs root, iproute2 and dig',
)
const v4 = ['10.9.0.1', '10.9.0.2', '192.168.77.5', '127.0.0.1']
const both = [...v4, 'fd00:9::1', 'fd00:9::2', '::1']

for (const kind of ['dgram', 'native'] as const) {
  const skip = kind === 'native' && !batchSockets() ? 'the addon was not built here' : possible
  for (const [listen, addresses] of [
    ['0.0.0.0', v4],
    ['::', both],
  ] as const) {
    t.test(`${kind}, ${listen}`, { skip }, async t => {
      const { stdout } = await inNamespace(process.execPath, child, kind, listen, ...addresses)
      t.same(JSON.parse(stdout), Object.fromEntries(addresses.map(address => [address, ['127.96.0.10', '192.0.2.1']])))
    })
  }
}
