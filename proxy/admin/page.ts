/** The web page, from the files in page/. */
import { createHash } from 'node:crypto'
import { readCodeFile } from '../model/program/package-files.ts'
import type { Answer } from './answer.ts'

/**
 * Inlines the style and the script into the page, so that it needs no other request. The content security policy allows only
 * these two, by their hash.
 */
export function loadPage(): Answer {
  const style = read('style.css')
  const script = read('script.js')
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

function read(name: string): string {
  return readCodeFile(`proxy/admin/page/${name}`)
}

function hash(content: string): string {
  return `'sha256-${createHash('sha256').update(content).digest('base64')}'`
}
