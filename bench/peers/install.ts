/** Installs the peers, which have a package of their own, where they are missing or other versions are asked for. */
import { existsSync, readFileSync, statSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { Children } from "../children.ts";
import { type Peer, peers } from "../sides/peers.ts";

const folder = fileURLToPath(new URL(".", import.meta.url));

/** Versions of the peers that can be timed, and why others cannot. */
export interface Present {
  readonly versions: Readonly<Record<string, string>>;
  readonly missing: Readonly<Record<string, string>>;
  /** The command for Python, when PyTorch is there. */
  readonly python: string;
}

/** Finds the peers, after installing those of npm on the first run. `say`: where to tell that it takes a while. */
export async function presentPeers(children: Children, say: (text: string) => void): Promise<Present> {
  const failed = await installPeers(children, say);
  const native = await findPyTorch(children);
  const [versions, missing]: [Record<string, string>, Record<string, string>] = [{}, {}];
  for (const peer of peers) {
    const [version, reason] = peer.package === null ? native : [installed(peer), failed];
    if (version !== null && reason === null) versions[peer.name] = version;
    else missing[peer.name] = reason ?? "its package is not there";
  }
  return { versions, missing, python: native[2] };
}

/** Installs those of npm where they are not there yet. Null, or why that failed. */
export async function installPeers(children: Children, say: (text: string) => void): Promise<string | null> {
  const lock = `${folder}node_modules/.package-lock.json`;
  if (existsSync(lock) && statSync(lock).mtimeMs >= statSync(`${folder}package-lock.json`).mtimeMs) return null;
  say("installing the peers into bench/peers, once (about 560 MB)");
  try {
    await children.run("npm", ["ci", "--prefix", folder, "--no-audit", "--no-fund", "--loglevel", "error"]);
    return null;
  } catch (error) {
    const [what, why] = (error as Error).message.split("\n");
    return `npm ci failed in bench/peers: ${what}${why ? `, ${why}` : ""}`;
  }
}

function installed({ package: name }: Peer): string | null {
  const file = `${folder}node_modules/${name}/package.json`;
  return existsSync(file) ? JSON.parse(readFileSync(file, "utf8")).version : null;
}

/** A Python with PyTorch may stand behind another one in the path. */
const PYTHONS = ["python3", "/usr/bin/python3"];

async function findPyTorch(
  children: Children,
): Promise<[version: string | null, reason: string | null, python: string]> {
  for (const python of PYTHONS) {
    try {
      return [await children.run(python, [`${folder}native.py`]), null, python];
    } catch {
      // Not this one.
    }
  }
  return [null, "no python3 that can import torch", ""];
}
