// The layout rule: no folder has more files side by side than a reader can take in.
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import t from 'tap'

const most = 16
const roots = ['proxy', 'plugins', 'native/src', 'bench', 'scripts', 'test']

/** How many files a folder and each folder below it hold. */
function filesPerFolder(folder: string): [folder: string, files: number][] {
  const entries = readdirSync(folder, { withFileTypes: true })
  const files = entries.filter(entry => entry.isFile()).length
  const below = entries.filter(entry => entry.isDirectory()).flatMap(({ name }) => filesPerFolder(join(folder, name)))
  return [[folder, files], ...below]
}

t.test(`no folder has more than ${most} files side by side`, async t => {
  const folders = roots.flatMap(filesPerFolder)
  t.same(
    folders.filter(([, files]) => files > most),
    [],
    'lay it out in folders that are named after what is in them',
  )
  t.ok(folders.length > 50, 'the folders were read')
})

t.test('a folder is counted without the folders below it', async t => {
  const files = (count: number) => Object.fromEntries(Array.from({ length: count }, (_, i) => [`${i}.ts`, '']))
  const folder = t.testdir({ ...files(3), inner: files(most + 1) })
  t.same(filesPerFolder(folder), [
    [folder, 3],
    [join(folder, 'inner'), most + 1],
  ])
})
