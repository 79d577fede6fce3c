/** The address of an API server and the credentials for it, from a kubeconfig or a service account. Files are not read yet. */
export interface Access {
  /** For messages: `context kind-2 of /home/me/.kube/config`. */
  readonly name: string
  /** With a path where there is one (behind a gateway), without a slash at its end. */
  readonly server: string
  /** Undefined: the system's authorities. */
  readonly ca?: Pem
  /** The name in the server's certificate, where it differs from the host in `server`. */
  readonly servername?: string
  /** The server's certificate is not verified: a man in the middle can read and answer. */
  readonly insecure: boolean
  /** `http://`, `https://` or `socks5://`. Empty: no proxy. Undefined: the proxy of the environment, if any. */
  readonly proxy?: string
  readonly certificate?: { readonly cert: Pem; readonly key: Pem }
  readonly credential: Credential
  /** The `Impersonate-` headers. */
  readonly impersonate: Readonly<Record<string, string | string[]>>
}

/** PEM text. Files are read each time they are needed, since they are rotated in place. */
export type Pem = { readonly data: string } | { readonly file: string }

export type Credential =
  | { readonly by: 'nothing' }
  | { readonly by: 'token'; readonly token: string }
  /** `token` is used while the file cannot be read. */
  | { readonly by: 'token-file'; readonly file: string; readonly token?: string }
  | { readonly by: 'password'; readonly username: string; readonly password: string }
  | { readonly by: 'exec'; readonly plugin: ExecPlugin }

/** A program that prints credentials: client-go's exec plugins (KEP-541). */
export interface ExecPlugin {
  readonly apiVersion: string
  readonly command: string
  readonly args: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly installHint?: string
  readonly provideClusterInfo: boolean
  /** The plugin's entry under `extensions` of the cluster, passed on as it is. */
  readonly config?: unknown
}
