/** How many descriptors the process has open: by the kernel's count, or by a list where there is none. */
import { closeSync, mkdtempSync, openSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import t from 'tap'
import { descriptorCount, openDescriptors } from '../../../proxy/model/limits/descriptors.ts'

const skip = openDescriptors ? false : 'no /proc here'
const listed = () => readdirSync('/proc/self/fd').length - 1

t.test('open descriptors are counted', { skip }, async t => {
  if (!openDescriptors) return
  const before = await openDescriptors()
  t.equal(before, listed())
  const opened = Array.from({ length: 50 }, () => openSync('/dev/null', 'r'))
  t.equal(await openDescriptors(), before + 50)
  for (const descriptor of opened) closeSync(descriptor)
  t.equal(await openDescriptors(), before)
})

t.test('a folder that does not say how many are in it is listed, not on the main thread', async t => {
  const folder = mkdtempSync(join(tmpdir(), 'starlane-descriptors-'))
  t.teardown(() => rmSync(folder, { recursive: true }))
  for (let i = 0; i < 5; i++) writeFileSync(join(folder, String(i)), '')
  const count = descriptorCount(folder)
  const found = count?.()
  t.type(found, Promise)
  t.equal(await found, 4, 'without the descriptor that reads it')
})

t.equal(descriptorCount('/nowhere'), undefined)
