/** A successor takes the routes of `anyip` and the packet rules over: clients are never refused, and nothing is left at the end. */
import { spawnSync } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import t from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'
import { failures, type Tally, tallyText } from '../../scripts/faults/load.ts'

const found = findAddon()
const child = fileURLToPath(new URL('rules-child.ts', import.meta.url))
const enter = ['-n', 'sh', '-c', 'ip link set lo up && nft list tables && exec "$@"', 'sh']
const can = spawnSync('unshare', [...enter, 'true']).status === 0
const skip = 'addon' in found ? (can ? false : 'needs root, unshare, ip and nft') : found.why

for (const mode of ['guard', 'redirect']) {
  t.test(`nftables: ${mode}`, { skip }, async t => {
    const { stdout, stderr } = spawnSync('unshare', [...enter, process.execPath, child, mode], { encoding: 'utf8' })
    const line = stdout.trim().split('\n').at(-1) ?? ''
    const { tallies, during, after, code } = JSON.parse(line.startsWith('{') ? line : JSON.stringify({ stderr }))
    for (const tally of tallies as Tally[]) t.equal(failures(tally), 0, tallyText(tally))
    t.same(during, ['local 10.96.0.10 dev lo scope host src 127.0.0.1', 'table inet starlane'])
    t.same(after, [])
    t.equal(code, 0)
  })
}
