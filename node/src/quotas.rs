//! What apps may use on this node: admitted from the allowance that the app's ledger has granted,
//! and asked for when that is used up.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use proto::quota::{Allowance, Demand, RENEW_EVERY};
use proto::{AppId, Refusal};
use tokio::time::sleep;

use crate::apps::Apps;
use crate::router::{RouteError, Router};

mod users;

use users::Users;

/// The handle.
#[derive(Clone, Debug)]
pub struct Quotas(Arc<Table>);

#[derive(Debug)]
struct Table {
    apps: Apps,
    allowances: Mutex<HashMap<AppId, Allowance>>,
    users: Users,
    router: OnceLock<Router>,
}

impl Quotas {
    /// Quotas of these apps, of which nothing is used.
    #[must_use]
    pub fn new(apps: Apps) -> Self {
        let (allowances, users, router) = (Mutex::default(), Users::default(), OnceLock::new());
        Self(Arc::new(Table { apps, allowances, users, router }))
    }

    /// Gives the quotas the way to their ledgers. Once, before anything is admitted.
    pub fn connect(&self, router: Router) {
        if self.0.router.set(router).is_err() {
            tracing::error!("the quotas have their router already");
        }
    }

    /// Books a demand if that needs no question.
    #[must_use]
    pub fn take(&self, app: &AppId, demand: Demand) -> bool {
        let mut allowances = self.lock();
        match allowances.get_mut(app) {
            Some(allowance) => allowance.take(demand),
            None => allowances.entry(app.clone()).or_default().take(demand),
        }
    }

    /// Books a demand.
    ///
    /// # Errors
    /// The limit that it would break, or that the ledger cannot be asked.
    pub async fn admit(&self, app: &AppId, demand: Demand) -> Result<(), RouteError> {
        // What is granted to one may be taken by another that asked at the same time.
        for _ in 0..3 {
            if self.take(app, demand) {
                return Ok(());
            }
            self.ask(app, Some(demand)).await?;
        }
        if self.take(app, demand) {
            return Ok(());
        }
        let entry = self.0.apps.by_id(app.as_str()).ok_or(RouteError::Unavailable)?;
        let allowance = self.lock().get(app).cloned().unwrap_or_default();
        let refusal: Refusal = allowance.refusal(demand, &entry.app.limits);
        Err(RouteError::Refused(refusal))
    }

    /// Takes a demand back.
    pub fn release(&self, app: &AppId, demand: Demand) {
        if let Some(allowance) = self.lock().get_mut(app) {
            allowance.release(demand);
        }
    }

    /// Counts a channel that came from another node, allowed or not.
    pub fn inherit_channel(&self, app: &AppId) {
        self.lock().entry(app.clone()).or_default().inherit_channel();
    }

    /// An app's open connections, on all nodes.
    ///
    /// # Errors
    /// That the ledger cannot be asked.
    pub async fn connections(&self, app: &AppId) -> Result<u32, RouteError> {
        self.ask(app, None).await?;
        Ok(self.lock().get(app).map_or(0, Allowance::all_connections))
    }

    async fn ask(&self, app: &AppId, demand: Option<Demand>) -> Result<(), RouteError> {
        let router = self.0.router.get().ok_or(RouteError::Unavailable)?;
        let allowance = self.lock().get(app).cloned().unwrap_or_default();
        let grant = router.lease(app, allowance.usage(router.me().clone(), demand)).await?;
        self.lock().entry(app.clone()).or_default().granted(&grant);
        Ok(())
    }

    /// Tells the ledgers again and again what this node uses, so that they neither forget it nor
    /// keep back what it has released.
    pub async fn renew(self) {
        loop {
            sleep(RENEW_EVERY).await;
            let used: Vec<AppId> = self.lock().keys().cloned().collect();
            for app in used {
                if let Err(error) = self.ask(&app, None).await {
                    tracing::debug!(%app, %error, "the ledger of an app could not be told");
                }
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<AppId, Allowance>> {
        self.0.allowances.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
