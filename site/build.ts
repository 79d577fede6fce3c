/** Builds the site in site/dist from the pages of the repository, and checks its links. */
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'
import { brokenLinks } from './links.ts'
import { sections } from './pages.ts'
import { stage } from './stage.ts'

stage()
const vitepress = join(import.meta.dirname, 'node_modules/vitepress/bin/vitepress.js')
const { status } = spawnSync(process.execPath, [vitepress, 'build'], { cwd: import.meta.dirname, stdio: 'inherit' })
if (status !== 0) process.exit(1)
const broken = brokenLinks(join(import.meta.dirname, 'dist'))
for (const line of broken) console.error(line)
if (broken.length > 0) process.exit(1)
const count = sections.reduce((sum, { pages }) => sum + pages.length, 0)
console.log(`site/dist has ${count} pages; all links lead somewhere`)
