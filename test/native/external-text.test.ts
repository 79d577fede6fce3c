/** A text that is made of bytes where they are: the single executable's code is one. */
import t from 'tap'
import { findAddon } from '../../proxy/dataplane/native/addon.ts'

const found = findAddon()
const skip = 'addon' in found ? false : found.why

t.test('a string takes its characters from the buffer and no memory of its own', { skip }, t => {
  if (!('addon' in found)) {
    t.end()
    return
  }
  const bytes = Buffer.alloc(64 * 1024 * 1024, 'starlane ')
  const before = process.memoryUsage.rss()
  const text = found.addon.textOf(bytes.buffer)
  t.equal(text.length, bytes.length)
  t.equal(text.slice(0, 18), 'starlane starlane ')
  t.equal(text.at(-1), String.fromCharCode(bytes.at(-1) ?? 0))
  t.ok(process.memoryUsage.rss() - before < bytes.length / 4, 'nothing is copied')
  t.throws(() => found.addon.textOf('text' as unknown as ArrayBuffer))
  // The string is used until here, and the buffer is there for as long.
  t.equal(bytes.length + text.length, 2 * bytes.length)
  t.end()
})
