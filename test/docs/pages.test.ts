/** Links, files and dependencies that the pages name. */
import { globSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import t from 'tap'

const root = fileURLToPath(new URL('../..', import.meta.url))

t.test('every dependency has its line', async t => {
  const page = await readFile(join(root, 'docs/architecture.md'), 'utf8')
  const {
    dependencies,
    devDependencies,
    optionalDependencies = {},
  } = JSON.parse(await readFile(join(root, 'package.json'), 'utf8'))
  const rows = [...page.matchAll(/^\| ([^|]+) \| [^|]* \| [^|]* \|$/gm)].map(([, names]) => names ?? '').join(', ')
  for (const name of Object.keys({ ...dependencies, ...devDependencies, ...optionalDependencies })) {
    if (name.startsWith('@types/')) continue
    t.ok(rows.split(/[ ,]+/).includes(name), name)
  }
})

t.test('links between pages lead somewhere', async t => {
  const pages = ['README.md', 'CONTRIBUTING.md', 'SECURITY.md']
  for (const folder of ['docs', 'deploy', 'plugins', 'bench']) pages.push(...(await markdown(folder)))
  for (const page of pages) {
    const text = (await readFile(join(root, page), 'utf8')).replace(/```[\s\S]*?```/g, '')
    for (const [, target = ''] of text.matchAll(/\]\(([^)#\s]+)[^)]*\)/g)) {
      if (/^[a-z]+:/.test(target)) continue
      await t.resolves(readFileOrFolder(join(root, dirname(page), target)), `${page}: ${target}`)
    }
  }
})

t.test('files and folders that the pages name exist', async t => {
  const rooms = await folders('proxy')
  const roots = [...(await folders('.')), '.ci']
  for (const page of ['CONTRIBUTING.md', 'SECURITY.md', ...(await markdown('docs'))]) {
    const text = await readFile(join(root, page), 'utf8')
    const named = new Set(pathsIn(text, roots))
    // A page may name a file of proxy/ from there, as `dns/responder.ts`.
    for (const path of pathsIn(text.replace(/```[\s\S]*?```/g, ''), rooms)) named.add(`proxy/${path}`)
    // Or by its name alone, such as `ring.h`.
    for (const [, name] of text.matchAll(/`([\w-]+\.(?:ts|cc|h))`/g))
      named.add(`{proxy,plugins,native,test}/**/${name}`)
    for (const path of named) t.ok(globSync([path, `${path}.ts`], { cwd: root }).length > 0, `${page}: ${path}`)
  }
})

/** Paths in code spans and code blocks that begin with one of the folders; a `*` in them is a pattern. */
function pathsIn(text: string, folders: readonly string[]): string[] {
  const code = text.match(/```[\s\S]*?```|`[^`\n]+`/g)?.join('\n') ?? ''
  return [...code.matchAll(/(?<=^|[`\s(])([\w.-]+)\/[\w./*-]*/gm)]
    .filter(([, folder = '']) => folders.includes(folder))
    .map(([path]) => path.replace(/[/.]+$/, ''))
}

async function folders(path: string): Promise<string[]> {
  const entries = await readdir(join(root, path), { withFileTypes: true })
  return entries.filter(entry => entry.isDirectory() && entry.name !== 'node_modules').map(entry => entry.name)
}

async function markdown(folder: string): Promise<string[]> {
  const names = await readdir(join(root, folder), { recursive: true }).catch(() => [])
  return names.filter(name => name.endsWith('.md')).map(name => join(folder, name))
}

async function readFileOrFolder(path: string): Promise<void> {
  await readFile(path).catch(error => {
    if (error.code !== 'EISDIR') throw error
  })
}
