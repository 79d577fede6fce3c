/** Checks the built site: every link leads to a page that is there, and every anchor to a heading of it. */
import { existsSync, globSync, readFileSync, statSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'

/** One line for each link that leads nowhere. */
export function brokenLinks(site: string): string[] {
  const pages = globSync('**/*.html', { cwd: site })
  if (pages.length === 0) return [`no page was built in ${site}`]
  const text = new Map(pages.map(page => [page, readFileSync(join(site, page), 'utf8')]))
  const broken: string[] = []
  for (const [page, html] of text) {
    for (const [, link = ''] of html.matchAll(/\s(?:href|src)="([^"]*)"/g)) {
      if (link === '' || /^([a-z]+:|\/\/)/.test(link)) continue
      const [path = '', anchor] = decodeURI(link.replaceAll('&amp;', '&')).split('#')
      const target = path === '' ? page : fileOf(site, page, path.split('?')[0] ?? '')
      if (target === undefined) broken.push(`${page}: ${link} leads to no page`)
      else if (anchor && !text.get(target)?.includes(`id="${anchor}"`))
        broken.push(`${page}: ${link} leads to no heading`)
    }
  }
  return broken
}

/** The file that a server gives for a path, from the root of the site. */
function fileOf(site: string, page: string, path: string): string | undefined {
  const whole = path.startsWith('/') ? path.slice(1) : join(dirname(page), path)
  for (const candidate of [whole, `${whole}.html`, join(whole, 'index.html')]) {
    const file = join(site, candidate)
    if (existsSync(file) && statSync(file).isFile()) return relative(site, file)
  }
  return undefined
}
