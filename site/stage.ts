/** Copies the pages to site/.pages, which the generator reads: the same paths, with links and marks as the site needs them. */
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { sections } from './pages.ts'

const root = join(import.meta.dirname, '..')
const staged = join(import.meta.dirname, '.pages')

export function stage(): void {
  rmSync(staged, { recursive: true, force: true })
  const pages = new Set(sections.flatMap(section => section.pages.map(([path]) => path)))
  for (const page of pages) {
    const to = join(staged, page.replace(/(^|\/)README\.md$/, '$1index.md'))
    mkdirSync(dirname(to), { recursive: true })
    writeFileSync(to, staging(page, readFileSync(join(root, page), 'utf8'), pages))
  }
  writeFileSync(join(staged, 'index.md'), readFileSync(join(import.meta.dirname, 'home.md')))
  cpSync(join(root, 'docs/pictures'), join(staged, 'docs/pictures'), { recursive: true })
}

/** One page: marks of commands are shown, links to other pages keep their way, and other files of the repository go along. */
function staging(page: string, text: string, pages: ReadonlySet<string>): string {
  const parts = text.split(/(```[\s\S]*?```)/)
  return parts
    .map((part, i) => {
      if (i % 2 === 1) return part
      return part
        .replace(/<!-- needs: (.+) -->\n/g, '<p class="needs">Needs $1</p>\n\n')
        .replace(/<!--[\s\S]*?-->\n?/g, '')
        .replace(/\]\(([^)#\s]+)(#[^)\s]*)?\)/g, (link, target: string, anchor = '') => {
          if (/^[a-z]+:/.test(target)) return link
          const path = normalize(join(dirname(page), target)).replace(/\/$/, '')
          if (pages.has(path)) return `](${target.replace(/README\.md$/, 'index.md')}${anchor})`
          if (pages.has(`${path}/README.md`)) return `](${target.replace(/\/$/, '')}/index.md${anchor})`
          return `](${carried(page, target, path)}${anchor})`
        })
    })
    .join('')
}

/** A file beside the pages: a picture keeps its way, everything else is served as it is. */
function carried(page: string, target: string, path: string): string {
  const from = join(root, path)
  if (!existsSync(from) || !statSync(from).isFile())
    throw new Error(`${page} links to ${target}, which is no page and no file`)
  const isPicture = /\.(svg|png)$/.test(path)
  const to = join(staged, isPicture ? '' : 'public/files', path)
  mkdirSync(dirname(to), { recursive: true })
  cpSync(from, to)
  return isPicture ? target : `/files/${path}`
}
