"""A bot as people write them: it asks Weir what there is to poll, polls it at its
intervals and posts what it measured. Its only settings are BACKEND_URL and BOT_TOKEN."""

import json
import os
import sys
import time

import requests
from apscheduler.schedulers.background import BackgroundScheduler

BACKEND_URL = os.environ["BACKEND_URL"]
BOT_TOKEN = os.environ["BOT_TOKEN"]
REFRESH = float(os.environ.get("JOBS_REFRESH_INTERVAL", "120"))
PROTOCOL = "lamp"


def wait_for_backend():
    while True:
        try:
            r = requests.get(f"{BACKEND_URL}/status/info")
            r.raise_for_status()
            info = r.json()
            if not info["db_migration_needed"] and info["user_exists"]:
                return
        except requests.RequestException as e:
            print("the backend is not there:", type(e).__name__, flush=True)
        time.sleep(0.2)


def get(session, path):
    r = session.get(f"{BACKEND_URL}{path}?b={BOT_TOKEN}")
    if r.status_code != 200:
        raise RuntimeError(f"{path}: {r.status_code} {r.text}")
    return r.json()


def fetch_job_configs(user_id):
    with requests.Session() as s:
        for account in get(s, "/accounts/")["list"]:
            a = account["id"]
            for listed in get(s, f"/accounts/{a}/entities/")["list"]:
                if listed["entity_type"] != "device":
                    continue
                entity = get(s, f"/accounts/{a}/entities/{listed['id']}")
                how = entity["protocols"].get(PROTOCOL)
                if not how or (how["bot"] is not None and how["bot"] != user_id):
                    continue
                if not how["credential"] or not how["sensors"]:
                    continue
                credential = get(s, f"/accounts/{a}/credentials/{how['credential']}")
                sensors = []
                for reference in how["sensors"]:
                    sensor = get(s, f"/accounts/{a}/sensors/{reference['sensor']}")
                    interval = reference["interval"]
                    if interval is None:
                        interval = sensor["default_interval"]
                    sensors.append({"interval": interval, "details": sensor["details"]})
                yield {
                    "account_id": a,
                    "entity_id": entity["id"],
                    "details": entity["details"],
                    "credential": credential["details"],
                    "sensors": sensors,
                }


def perform_job(job):
    entity = job["entity_id"]
    values = []
    for k, sensor in enumerate(job["sensors"]):
        # The lamp says how bright it is: the product of two settings.
        brightness = float(job["details"]["watts"]) * float(sensor["details"]["factor"])
        values.append({"p": f"entity.{entity}.lamp.{k}.brightness", "v": brightness})
    values.append({"p": f"entity.{entity}.lamp.password", "v": str(len(job["credential"]["password"]))})
    url = f"{BACKEND_URL}/accounts/{job['account_id']}/values/?b={BOT_TOKEN}"
    r = requests.post(url, json=values)
    print("posted", len(values), r.status_code, flush=True)


def main():
    wait_for_backend()
    profile = requests.get(f"{BACKEND_URL}/profile/?b={BOT_TOKEN}")
    if profile.status_code != 200:
        sys.exit(f"who am I? {profile.status_code}")
    user_id = profile.json()["user_id"]
    scheduler = BackgroundScheduler(timezone="UTC")
    scheduler.start()
    known = {}
    while True:
        seen = set()
        try:
            jobs = list(fetch_job_configs(user_id))
        except RuntimeError as e:  # something went away between two requests: the next pass sees it
            print("refresh failed:", e, flush=True)
            time.sleep(REFRESH)
            continue
        for job in jobs:
            name = str(job["entity_id"])
            seen.add(name)
            if known.get(name) == job:
                continue
            known[name] = job
            intervals = {int(s["interval"]) for s in job["sensors"] if s["interval"]}
            print("job", name, json.dumps(sorted(intervals)), flush=True)
            scheduler.add_job(perform_job, "interval", seconds=min(intervals), args=[job], id=name, replace_existing=True)
        for name in set(known) - seen:
            print("gone", name, flush=True)
            del known[name]
            scheduler.remove_job(name)
        time.sleep(REFRESH)


main()
