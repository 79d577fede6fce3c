/** In a network namespace of its own: three handovers with the routes of `anyip` and the packet rules of a mode. Prints what it saw as JSON. */
import { execFileSync } from 'node:child_process'
import { connections, longLived } from '../../scripts/faults/load.ts'
import { type Engine, Stage, type Starlane } from '../../scripts/faults/stage.ts'

const [mode = 'redirect', engine = 'native'] = process.argv.slice(2)
const frontend = { host: '10.96.0.10', port: 7000 }
const stage = new Stage({ engine: engine as Engine, drain: '2s', frontend })
stage.write({ proxy: { anyip: true, nftables: mode } })
await stage.echo(stage.ip(10))
stage.declare('tcp', { 'cluster-1': [stage.ip(10)], 'cluster-2': [] })
let current = stage.run()
await current.logged('ready')
const loads = [connections(frontend, 100), longLived(frontend, 5, 50, 1000)]
const old: Starlane[] = []
for (let i = 0; i < 3; i++) {
  const next = stage.run()
  await next.logged('ready')
  old.push(current)
  current = next
}
await Promise.all(old.map(({ ended }) => ended))
const tallies = await Promise.all(loads.map(load => load.stop()))
const during = kept()
current.child.kill('SIGTERM')
const code = await current.ended
const after = kept()
await stage.close()
console.log(JSON.stringify({ tallies, during, after, code }))
process.exit(0)

/** The routes and tables that are there. */
function kept(): string[] {
  const run = (command: string, ...args: string[]) =>
    execFileSync(command, args, { encoding: 'utf8' }).trim().split('\n')
  const routes = run('ip', 'route', 'show', 'table', 'local', 'proto', '196').map(line => line.trim())
  return [...routes, ...run('nft', 'list', 'tables')].filter(Boolean)
}
