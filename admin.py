"""The routes of whoever runs the service, which ADMIN_KEY alone opens: keys, budgets, and what a
job of unknown cost did cost."""

from fastapi import APIRouter

import documented
import fields
import queries
import schemas
from access import caps, manage
from access.schemas import (
    Budget,
    BudgetChange,
    BudgetItem,
    BudgetList,
    BudgetRequest,
    Key,
    KeyChange,
    KeyList,
    KeyRequest,
    NewKey,
)
from dependencies import AnyBudgetId, BudgetId, CheckedRoute, Database, KeyId, Service
from generation import corrections

router = APIRouter(route_class=CheckedRoute, generate_unique_id_function=lambda route: route.name)


@router.patch(
    "/costs/jobs/{job_id}",
    tags=["costs"],
    responses=documented.SETTLING,
    response_model_exclude_none=True,
)
def settle_job(
    service: Service, db: Database, job_id: fields.Id, body: schemas.JobChange
) -> schemas.Job:
    """Book what a job of unknown cost did cost, as OpenAI's bill says; who says so is kept."""
    own = caps.of_settings(service.settings)
    alerts = corrections.settle(db, own, job_id, body.cost, body.settled_by)
    db.commit()
    service.ledger.alert(alerts)
    return schemas.Job.model_validate(queries.job(db, job_id))


@router.post("/keys", tags=["keys"], responses=documented.MAKING_A_KEY)
def create_key(db: Database, body: KeyRequest) -> NewKey:
    """Make a key. It is shown this once."""
    key = manage.add_key(db, body)
    db.commit()
    return key


@router.get("/keys", tags=["keys"], responses=documented.GUARDED)
def list_keys(db: Database) -> KeyList:
    """List all keys, with what they spent and have left."""
    return manage.list_keys(db)


@router.patch("/keys/{key_id}", tags=["keys"], responses=documented.CHANGING_A_KEY)
def change_key(db: Database, key_id: KeyId, body: KeyChange) -> Key:
    """Change what is sent of a key; the rest stays as it is."""
    key = manage.change_key(db, key_id, body)
    db.commit()
    return key


# Without an example, as settle_job and delete_budget: nothing is to be booked or taken away by
# pressing "Execute" in Swagger UI alone.
@router.delete("/keys/{key_id}", tags=["keys"], responses=documented.ONE_KEY)
def revoke_key(db: Database, key_id: fields.Id) -> schemas.Message:
    """Revoke a key: from now on, it opens nothing, on any worker."""
    manage.revoke_key(db, key_id)
    db.commit()
    return schemas.Message(message="Key revoked successfully")


@router.post("/budgets", tags=["budgets"], responses=documented.MAKING_A_BUDGET)
def create_budget(db: Database, body: BudgetRequest) -> Budget:
    """Put a cap on what a key, a user, or the whole service may spend in each period."""
    budget = manage.add_budget(db, body)
    db.commit()
    return budget


@router.get("/budgets", tags=["budgets"], responses=documented.GUARDED)
def list_budgets(service: Service, db: Database) -> BudgetList:
    """List all caps, and how they stand."""
    return manage.list_budgets(db, caps.of_settings(service.settings))


@router.get("/budgets/{budget_id}", tags=["budgets"], responses=documented.ONE_BUDGET)
def get_budget(service: Service, db: Database, budget_id: BudgetId) -> BudgetItem:
    """Show one cap, and its period by day."""
    return manage.budget(db, caps.of_settings(service.settings), budget_id)


@router.patch("/budgets/{budget_id}", tags=["budgets"], responses=documented.CHANGING_A_BUDGET)
def change_budget(db: Database, budget_id: BudgetId, body: BudgetChange) -> Budget:
    """Change what is sent of a cap; what was spent counts on."""
    budget = manage.change_budget(db, budget_id, body)
    db.commit()
    return budget


@router.delete("/budgets/{budget_id}", tags=["budgets"], responses=documented.REMOVING_A_BUDGET)
def delete_budget(db: Database, budget_id: AnyBudgetId) -> schemas.Message:
    """Take a cap away."""
    manage.remove_budget(db, budget_id)
    db.commit()
    return schemas.Message(message="Budget deleted successfully")
