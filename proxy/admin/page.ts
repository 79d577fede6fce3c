/** The web page, from the files in page/. */
import { createHash } from 'node:crypto'
import { readCodeFile } from '../model/program/package-files.ts'
import type { Answer } from './answer.ts'

/**
 * Inlines the style and the modules into the page, so that it needs no other request. The content security policy allows only
 * these two, by their hash.
 */
export function loadPage(): Answer {
  const style = read('style.css')
  const script = scripts.map(name => alone(read(name))).join('\n')
  const body = read('index.html')
    .replace('<style></style>', () => `<style>${style}</style>`)
    .replace('<script></script>', () => `<script>${script}</script>`)
  const policy = [
    "default-src 'none'",
    `style-src ${hash(style)}`,
    `script-src ${hash(script)}`,
    "connect-src 'self'",
    'img-src data:',
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
  return {
    status: 200,
    type: 'text/html; charset=utf-8',
    body,
    headers: { 'content-security-policy': policy },
  }
}

/** In the order in which they need each other. */
const scripts = [
  'elements.js',
  'address.js',
  'data.js',
  'summary.js',
  'clusters.js',
  'servicemap.js',
  'rows.js',
  'detail.js',
  'table.js',
  'main.js',
]

/** A module as a part of the one script of the page: names are unique among the modules, so that nothing is imported. */
function alone(module: string): string {
  return module.replaceAll(/^import [^']*'[^']*'\n/gm, '').replaceAll(/^export /gm, '')
}

function read(name: string): string {
  return readCodeFile(`proxy/admin/page/${name}`)
}

function hash(content: string): string {
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`
}
