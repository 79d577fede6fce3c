/** Claims of loopback networks by several processes. */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'

const claim = `const { claimNetwork } = await import('./scripts/loopback.ts'); console.log(claimNetwork())`
const shared = { env: { ...process.env, NODE_NO_WARNINGS: '1' } }
const file = (network: string) => join(tmpdir(), 'starlane-loopback', network)

t.test('a network is claimed while its process runs, and free afterwards', async t => {
  const holder = spawn(process.execPath, ['--input-type=module', '-e', `${claim}; setInterval(() => {}, 1000)`], {
    ...shared,
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const network = String((await once(holder.stdout, 'data'))[0]).trim()
  t.match(network, /^127\.1\d\d\.\d+$/)
  t.ok(existsSync(file(network)))
  t.not(claimNext(network), network, 'another process gets another one')

  holder.kill('SIGKILL')
  await once(holder, 'exit')
  t.ok(existsSync(file(network)), 'a killed process leaves its claim behind')
  claimNext(network)
  t.notOk(existsSync(file(network)), 'which the next one that asks removes')
  t.notOk(existsSync(file(claimNext(network))), 'a process that ends by itself releases its own')
})

/** The network that a new process gets when it begins to search at this one. */
function claimNext(network: string): string {
  const [, second = 0, third = 0] = network.split('.').map(Number)
  const start = ((second - 100) * 256 + third + 0.5) / (100 * 256)
  const code = `Math.random = () => ${start}; ${claim}`
  return execFileSync(process.execPath, ['--input-type=module', '-e', code], { ...shared, encoding: 'utf8' }).trim()
}
