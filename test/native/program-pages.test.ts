/** What a start has read from the program's file is given back, and the process goes on. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import t from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

t.test('pages of files leave the resident set, and come back when they are needed', { skip }, async t => {
  if (!('addon' in found)) return
  const digest = () => createHash('sha512').update('starlane').digest('hex')
  const before = { files: residentFiles(), digest: digest() }
  const released = (await found.addon.releaseProgramPages()) / 1024
  const after = residentFiles()
  t.ok(before.files > 10_000, `a start has read ${before.files} KiB`)
  t.ok(after < before.files / 2, `${after} KiB of ${before.files} are left`)
  t.ok(released > before.files / 2, `${released} KiB were given back`)
  t.equal(digest(), before.digest, 'the program goes on')
})

/** KiB. */
function residentFiles(): number {
  const text = readFileSync('/proc/self/smaps_rollup', 'utf8')
  const of = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return of('Rss') - of('Anonymous')
}
